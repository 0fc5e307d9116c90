"""Generated code: call the graph, rebuild values, replay effects, call continuations."""

"""What happens when compiled code is called: the frame hook's callback, contexts, compiled modules, caches."""

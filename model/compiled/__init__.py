"""What serves without torch: the compiled bundle and the engine that runs it."""

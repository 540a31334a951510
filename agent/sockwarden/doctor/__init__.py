"""What is guarded, what is in force, and which other roads lead to the engine: facts, and what they mean."""

"""What a person sees, drawn with rich; a module for each subject. Nothing here reads a database or decides."""

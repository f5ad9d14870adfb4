"""What networks share that see one scene in several views."""

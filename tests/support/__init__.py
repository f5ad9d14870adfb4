"""What several test modules share: scenes, small trainings, slow twins and processes. No test is here."""

"""What every benchmark needs: trials, the processes that train them, their scores and their results."""

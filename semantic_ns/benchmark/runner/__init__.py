"""What every benchmark needs: cells, the processes that train them, their scores and their results."""

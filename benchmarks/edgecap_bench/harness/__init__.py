"""What every measurement needs: the machine and its state, child processes, time, energy."""

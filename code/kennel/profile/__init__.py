"""Where the time goes: samples of the machine, the timeline of steps, and the rules that judge them."""

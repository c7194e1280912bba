"""Run studies: find the remaining work, execute it on Ray or in this process, and record what was done."""

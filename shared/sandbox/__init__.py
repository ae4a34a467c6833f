"""The sandbox: its scenarios, and starting it afresh, filling it, looking into it."""

"""What every command has besides its work: how much it says, how it fails, how it is completed and explained.

``loudness`` adds ``--quiet`` and ``--verbose`` to the commands that run long and knows what was asked for. ``failures``
turns what goes wrong into one line and an exit code. ``pace`` tells the time left, ``dry_run`` what a run would do.
``completion`` fills in values while a command is typed, ``examples`` holds the examples under each help.
"""

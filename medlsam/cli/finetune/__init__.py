"""``medlsam finetune``: with a person's labels, or with a teacher's masks in place of them.

``command`` has the flags, and trains with labels. ``teacher`` adds the flags of distillation and takes over where
``--teacher`` is given. ``table`` shows Dice before and after of either.
"""

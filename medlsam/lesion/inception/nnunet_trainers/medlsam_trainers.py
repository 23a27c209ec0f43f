"""The trainers, where nnU-Net looks for them: ``nnUNet_extTrainer`` names this folder.

nnU-Net imports every file of the folders that it searches, so this one has nothing else in it.
"""

from medlsam.lesion.inception.nnunet import (
    nnUNetTrainerFineTune,
    nnUNetTrainerInception,
    nnUNetTrainerInceptionFineTune,
)

__all__ = ["nnUNetTrainerFineTune", "nnUNetTrainerInception", "nnUNetTrainerInceptionFineTune"]

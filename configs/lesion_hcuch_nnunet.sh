#!/bin/sh
# HCUCH's automatic segmentation with nnU-Net and InceptionUNet; needs pip install "medlsam[nnunet]" and a GPU.
#   sh configs/lesion_hcuch_nnunet.sh PRETRAIN TARGET PATIENTS.json [all|plan|move|pretrain|finetune|predict]
# PRETRAIN and TARGET are numbers of datasets in $nnUNet_raw (MSD's lung or liver, and HCUCH's); PATIENTS.json (or cases.json) says
# whose each scan of TARGET is. The paper's settings: pretraining on all of MSD as nnU-Net does it (1,000 epochs, learning rate
# 0.01, weight decay 3e-5) without a validation split, then 300 epochs at 0.0001 in five folds, whose networks are averaged.
# For the paper's own network set TRAINER=nnUNetTrainerFineTune PRETRAINER=nnUNetTrainer. Here the pretraining is that of
# MSWAL (1,500 epochs, 0.001).
# After a kill give the part that was at work, and in FOLDS the folds that are not done.
set -eu
fail() { echo "error: $*" >&2; exit 2; }
[ $# -ge 3 ] || fail "give PRETRAIN, TARGET and PATIENTS.json; the head of this file says what they are"
pretrain=$1 target=$2 patients=$3 part=${4:-all}
: "${nnUNet_raw:?}" "${nnUNet_preprocessed:?}" "${nnUNet_results:?}"
python=${PYTHON:-python}
plans=${PLANS:-nnUNetResEncUNetMPlans} planner=${PLANNER:-nnUNetPlannerResEncM}
pretrainer=${PRETRAINER:-nnUNetTrainerInception} trainer=${TRAINER:-nnUNetTrainerInceptionFineTune}
device=${DEVICE:-cuda} folds=${FOLDS:-0 1 2 3 4} splits=${SPLITS:-5} moved=${MOVED:-medlsamPretrainedPlans}
nnunet() { "$python" -m medlsam.lesion.inception.nnunet "$@"; }
name_of() {
  for folder in "$nnUNet_raw"/Dataset"$(printf %03d "$1")"_*; do
    [ -d "$folder" ] || fail "there is no dataset $1 in $nnUNet_raw"
    basename "$folder"
    return
  done
}
case $part in all | plan | move | pretrain | finetune | predict) ;; *) fail "$part is no part of this recipe" ;; esac
[ -f "$patients" ] || fail "$patients: there is no such file"
# One a line: of several assignments in one, only the last can stop the recipe.
from=$(name_of "$pretrain")
to=$(name_of "$target")

if [ "$part" = all ] || [ "$part" = plan ]; then
  nnunet nnUNetv2_plan_and_preprocess -d "$pretrain" -c 3d_fullres -pl "$planner" --verify_dataset_integrity
  # Between this part and the next, batch_size in the plan can be made smaller for the GPU.
fi
if [ "$part" = all ] || [ "$part" = move ]; then
  # The network must be the pretrained one, so the target takes its plan.
  nnunet nnUNetv2_extract_fingerprint -d "$target" --verify_dataset_integrity
  nnunet nnUNetv2_move_plans_between_datasets -s "$pretrain" -t "$target" -sp "$plans" -tp "$moved"
  # Planning would have put it there.
  cp "$nnUNet_raw/$to/dataset.json" "$nnUNet_preprocessed/$to/"
  nnunet nnUNetv2_preprocess -d "$target" -plans_name "$moved" -c 3d_fullres
  # nnU-Net's own folds would put scans of one patient on both sides, and those of HCUCH's test among them.
  "$python" -m medlsam.lesion.inception.folds "$nnUNet_raw/$to" "$nnUNet_preprocessed/$to/splits_final.json" \
    --folds "$splits" --patients "$patients"
fi
if [ "$part" = all ] || [ "$part" = pretrain ]; then
  nnunet nnUNetv2_train "$pretrain" 3d_fullres all -p "$plans" -tr "$pretrainer" -device "$device"
fi
if [ "$part" = all ] || [ "$part" = finetune ]; then
  weights="$nnUNet_results/$from/${pretrainer}__${plans}__3d_fullres/fold_all/checkpoint_final.pth"
  for fold in $folds; do
    nnunet nnUNetv2_train "$target" 3d_fullres "$fold" -p "$moved" -tr "$trainer" -pretrained_weights "$weights" -device "$device"
  done
fi
if [ "$part" = all ] || [ "$part" = predict ]; then
  # Several folds are averaged: the ensemble.
  scans="$nnUNet_raw/$to/imagesTs"
  if [ -f "$nnUNet_raw/$to/splits.json" ]; then  # medlsam data leaves labelled scans of the test in imagesTr
    "$python" -m medlsam.lesion.inception.folds "$nnUNet_raw/$to" "$nnUNet_results/$to/test/folds.json" \
      --folds "$splits" --patients "$patients" --test-scans "$nnUNet_results/$to/test"
    scans="$nnUNet_results/$to/test/images"
  fi
  nnunet nnUNetv2_predict -i "$scans" -o "$nnUNet_results/$to/ensemble" -d "$target" -c 3d_fullres \
    -p "$moved" -tr "$trainer" -f $folds -device "$device"
fi

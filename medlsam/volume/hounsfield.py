"""Hounsfield values that decide something, each with its purpose: what is air, what is body.

They are close to each other and still differ: networks were trained with some of them, and pools are cut with others.
"""

#: The least HU that is kept: scanners pad with this value or darker ones. A scan is surrounded by it.
LOWEST_HU = -1024.0
#: The most HU that 12 bits hold: what pools and training arrays keep.
HIGHEST_HU = 3071.0
#: Air as the scale defines it: what the encoders saw in training, and see, outside of a scan.
AIR_HU = -1000.0
#: Denser voxels are body where the encoder draws its points in training and looks for structures later.
BODY_HU = -500.0
#: Denser voxels are kept when a pool cuts off the air around a scan: skin, fat and the couch, and dense lung.
TISSUE_HU = -400.0
#: Denser voxels make the outline of the body in a slice, from which a pool estimates the region: no lung.
OUTLINE_HU = -300.0
#: Darker voxels within the outline are lung or gas.
LUNG_HU = -500.0
#: Denser voxels within the outline are bone.
BONE_HU = 250.0

"""Bodies as volumes of two basis materials: soft tissue and cortical bone.

subject   what a volume is
phantom   a procedural thorax from a seed (anatomy: what varies; shapes: how it is drawn)
ct        a CT in Hounsfield units
"""

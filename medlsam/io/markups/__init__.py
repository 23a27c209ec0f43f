"""What a 3D Slicer markups file holds, node by node; ``medlsam.io.slicer_markups`` says what it means."""

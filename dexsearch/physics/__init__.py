"""X-ray physics: attenuation and tube spectra, line integrals, exposures.

attenuation  material -> mu(E); tube voltage -> spectrum and detected beam
geometry     poses, detector, rays
projection   volume + pose -> path lengths of soft tissue and cortical bone
validity     which pixels a longer or wider scan would not change
xray_gan     that project's poses, sums of Hounsfield units and targets
detector     path lengths -> noisy log projection
poses        which views a dataset holds
"""

"""X-ray physics: attenuation and tube spectra, line integrals, exposures.

attenuation  material -> mu(E); tube voltage -> spectrum and detected beam
projection   volume + pose -> path lengths of soft tissue and cortical bone
detector     path lengths -> noisy log projection
poses        which views a dataset holds
"""

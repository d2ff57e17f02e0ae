"""X-ray physics: attenuation and tube spectra, line integrals, exposures, dual energy.

attenuation        material -> mu(E); tube voltage -> spectrum and detected beam
build_tables       writes the packaged tables of `attenuation` anew
geometry           poses, detector, rays
poses              which views a dataset holds
projection         volumes -> the projector that makes views of them
projector          what every projector keeps and does
torch_projection   path lengths by torch, on any device
fast_projection    path lengths by compiled code, on the CPU
parity_projection  path lengths by turning the volume, as xray_GAN does
xray_gan           that project's poses, sums of Hounsfield units and targets
validity           which pixels a longer or wider scan would not change
detector           path lengths -> noisy log projection
blurring           Gaussian blur of images as matrix products
dual_energy        two log projections -> one material's image, or both thicknesses
"""

"""The networks of pix2pix: U-Net generator, PatchGAN discriminator, their losses."""

"""The commands that make datasets: `data phantom`, `data ct`, `data import`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dexsearch.cli.imaging import (
    AddressOption,
    BlurOption,
    DoseOption,
    ElectronicNoiseOption,
    FilterOption,
    GeometryOption,
    KvpOption,
    PairOption,
    PosesOption,
    ScatterOption,
    SeedOption,
    SizeOption,
    SplitFileOption,
    TargetDoseOption,
    TargetsOption,
    config_values,
    kvps_of,
)
from dexsearch.cli.options import FormatOption, OutputFormat
from dexsearch.cli.output import note, print_result, progress_bar

OutArgument = Annotated[Path, typer.Argument(help="Dataset folder to make.", metavar="OUT")]


def phantom(
    out: OutArgument,
    subjects: Annotated[int | None, typer.Option(min=1, help="Number of anatomies (32).")] = None,
    poses: PosesOption = None,
    preset: Annotated[
        Literal["thorax", "cirs-like"],
        typer.Option(help="Adults that differ, or one plastic phantom like xray_GAN's."),
    ] = "thorax",
    size: SizeOption = 64,
    seed: SeedOption = 0,
    kvp: KvpOption = 120.0,
    dose: DoseOption = 0.1,
    geometry: GeometryOption = "parallel",
    scatter: ScatterOption = "none",
    blur: BlurOption = 0.0,
    electronic_noise: ElectronicNoiseOption = 0.0,
    filters: FilterOption = None,
    targets: TargetsOption = "basis",
    pair: PairOption = "60,120",
    target_dose: TargetDoseOption = None,
    split_file: SplitFileOption = None,
    address: AddressOption = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Make a cohort of procedural thoraxes: input, bone and tissue images of each view.

    Example: dexsearch data phantom workspace/datasets/cohort --subjects 32 --poses 40
    """
    values = {**config_values(locals()), "subjects": subjects, "preset": preset}
    from dexsearch.config.data import PhantomDataConfig, checked
    from dexsearch.jobs.data import make_phantom
    from dexsearch.jobs.dataset_info import describe

    config = checked(PhantomDataConfig, values)
    with progress_bar("views") as progress:
        dataset = make_phantom(
            out, config, split_file=split_file, address=address, tell=note, progress=progress
        )
    print_result(describe(dataset, with_baselines=False), output_format)
    note(f"next: dexsearch data show {out}")


def ct(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="CTs in Hounsfield units: DICOM folders, NIfTI, MetaImage or .npy; each of "
            "another patient, unless --same-patient.",
            metavar="SRC...",
        ),
    ],
    out: OutArgument,
    poses: PosesOption = None,
    same_patient: Annotated[
        bool, typer.Option("--same-patient", help="The CTs are one patient at several kV.")
    ] = False,
    ct_kvp: Annotated[
        str | None,
        typer.Option(metavar="KVP[,KVP]", help="Tube voltage of the CTs, if DICOM is silent."),
    ] = None,
    bone_mask: Annotated[
        Path | None, typer.Option(help="Volume of 0 and 1: bone is nowhere else.")
    ] = None,
    parity: Annotated[
        bool, typer.Option("--parity", help="Rotate as xray_GAN did, three times; slow.")
    ] = False,
    size: SizeOption = 64,
    seed: SeedOption = 0,
    kvp: KvpOption = 120.0,
    dose: DoseOption = 0.1,
    geometry: GeometryOption = "parallel",
    scatter: ScatterOption = "none",
    blur: BlurOption = 0.0,
    electronic_noise: ElectronicNoiseOption = 0.0,
    filters: FilterOption = None,
    targets: TargetsOption = "basis",
    pair: PairOption = "60,120",
    target_dose: TargetDoseOption = None,
    split_file: SplitFileOption = None,
    address: AddressOption = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Make input, bone and tissue images from CT volumes.

    Example: dexsearch data ct chest.nii.gz workspace/datasets/chest --poses 120
    """
    values = {
        **config_values(locals()),
        "same_patient": same_patient,
        "parity": parity,
        "ct_kvp": kvps_of(ct_kvp, "--ct-kvp"),
    }
    from dexsearch.config.data import CtDataConfig, checked
    from dexsearch.jobs.data import make_from_ct
    from dexsearch.jobs.dataset_info import describe

    config = checked(CtDataConfig, values)
    with progress_bar("views") as progress:
        dataset = make_from_ct(
            out, sources, config, bone_mask=bone_mask, split_file=split_file, address=address,
            tell=note, progress=progress,
        )  # fmt: skip
    print_result(describe(dataset, with_baselines=False), output_format)
    note(f"next: dexsearch data show {out}")


def import_(
    source: Annotated[
        Path, typer.Argument(help="Folder that holds the image folders.", metavar="SRC")
    ],
    out: OutArgument,
    size: SizeOption = 256,
    input_dir: Annotated[
        Path | None, typer.Option(help="Folder of single-energy images, if its name is not known.")
    ] = None,
    bone_dir: Annotated[Path | None, typer.Option(help="Folder of bone images.")] = None,
    tissue_dir: Annotated[Path | None, typer.Option(help="Folder of soft-tissue images.")] = None,
    subject_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Finds the patient in a file's name: its one group."),
    ] = None,
    split_file: SplitFileOption = None,
    output_format: FormatOption = OutputFormat.TEXT,
) -> None:
    """Import pairs: folders of .npy, PNG, TIFF or DICOM images with the same names.

    Names such as m30_15_45.npy are poses of one volume (xray_GAN's layout). Else a patient is
    told by --subject-pattern, the DICOM PatientID, a sub-folder, or each image is one.

    Example: dexsearch data import xray_gan_output workspace/datasets/imported
    """
    from dexsearch.jobs.data import import_dataset
    from dexsearch.jobs.dataset_info import describe

    with progress_bar("images") as progress:
        dataset = import_dataset(
            out, source, size_px=size, input_dir=input_dir, bone_dir=bone_dir,
            tissue_dir=tissue_dir, subject_pattern=subject_pattern, split_file=split_file,
            tell=note, progress=progress,
        )  # fmt: skip
    print_result(describe(dataset, with_baselines=False), output_format)
    note(f"next: dexsearch data show {out}")

"""Laws of judging what nodes answer before a search."""

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from dexsearch.config.space import ResourcesConfig
from dexsearch.errors import EnvironmentFault
from dexsearch.search import preflight, preflight_node
from dexsearch.search.preflight import FitNodes, Inspection, PreflightRequest, asked_nodes
from dexsearch.search.preflight_asking import Questions, ask_living_nodes, clock_offset_s
from dexsearch.search.preflight_node import Answer, Question
from dexsearch.search.preflight_report import Finding, NodeReport, dataset_note, findings
from dexsearch.search.preflight_room import Node, no_room, nodes_of_trials, waiting_line
from dexsearch.training.object_storage import open_storage
from tests.s3_server import S3Server

STORAGE = "/shared/studies"
HERE: Answer = {
    "hostname": "head",
    "python": "3.11.7",
    "versions": {"dexsearch": "0.1.0", "ray": "2.60.0", "torch": "2.13.0+cpu"},
    "code": "c0de" * 16,
    "storage_fault": None,
    "storage_free": 10**12,
    "dataset": "same",
    "scratch": "/tmp/ray",
    "scratch_free": 10**12,
    "gpu_bytes": 80 * 2**30,
    "clock_s": 0.0,
}


def node(n: int, **changes: object) -> NodeReport:
    answer: Answer = {**HERE, "hostname": f"lab{n}", **changes}  # type: ignore[typeddict-item]
    return NodeReport(f"id{n}", f"10.77.0.{n}", f"lab{n}", cpus=8, gpus=0, answer=answer)


def versions(**changes: str | None) -> dict[str, str | None]:
    return {**HERE["versions"], **changes}


def judged(*reports: NodeReport, ship_code: bool = False) -> list[Finding]:
    return findings(reports, HERE, storage=STORAGE, ship_code=ship_code)


def test_equal_nodes_are_well() -> None:
    assert judged(*(node(n) for n in range(40))) == []


FAULTS: list[tuple[dict[str, object], str, str]] = [
    ({"versions": versions(dexsearch=None), "code": None}, "has no dexsearch", "--ship-code"),
    ({"versions": versions(dexsearch="0.0.9"), "code": "x"}, "has dexsearch 0.0.9, the driver "
     "0.1.0", "install dexsearch 0.1.0"),
    ({"code": "0ther"}, "its dexsearch has other sources", "--ship-code"),
    ({"versions": versions(ray="2.58.0")}, "has ray 2.58.0, the driver 2.60.0", "ray==2.60.0"),
    ({"versions": versions(torch="2.11.0")}, "has torch 2.11.0", "install torch==2.13.0 there"),
    ({"versions": versions(torch=None)}, "has no torch", "install torch==2.13.0 there"),
    ({"python": "3.12.1"}, "has Python 3.12.1, the driver 3.11.7", "Python 3.11"),
    ({"storage_fault": "PermissionError: no"}, f"cannot use the storage {STORAGE}: Permission",
     "--storage"),
    ({"storage_free": 10**8}, f"has 0.1 GB free in the storage {STORAGE}", "free some"),
    ({"scratch_free": 10**8}, "has 0.1 GB free in /tmp/ray", "free some"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "told", "remedy"), FAULTS)
def test_each_fault_is_a_refusal_that_names_node_and_remedy(
    change: dict[str, object], told: str, remedy: str
) -> None:
    (finding,) = judged(node(1), node(2, **change), node(3))
    assert finding.is_refusal
    assert finding.node == "10.77.0.2 (lab2)"
    assert told in finding.found
    assert remedy in finding.remedy
    assert str(finding) == f"10.77.0.2 (lab2): {finding.found}; {finding.remedy}"


def test_faults_of_many_nodes_are_told_together() -> None:
    bad = [node(n, **change) for n, (change, _, _) in enumerate(FAULTS)]
    told = judged(*bad)
    assert len(told) == len(FAULTS)
    assert {finding.node for finding in told} == {report.name for report in bad}


def test_a_node_without_an_answer_is_named_and_judged_no_further() -> None:
    silent = replace(node(4), answer=None, silence="does not answer within 60 s")
    (finding,) = judged(node(1), silent)
    assert finding.node == "10.77.0.4 (lab4)"
    assert "does not answer within 60 s" in finding.found
    assert not silent.sees_dataset


def test_what_does_not_come_back_from_the_storage_is_no_shared_storage() -> None:
    (finding,) = judged(node(1), replace(node(2), wrote_back=False))
    assert (finding.node, finding.about) == ("10.77.0.2 (lab2)", "storage")


def test_with_shipped_code_only_the_code_may_differ() -> None:
    without: dict[str, object] = {"versions": versions(dexsearch=None), "code": None}
    assert judged(node(1, **without), ship_code=True) == []
    other = {"versions": versions(dexsearch=None, ray="2.58.0", torch="2.11.0"), "code": None}
    about = {finding.about for finding in judged(node(1, **other), ship_code=True)}
    assert about == {"ray", "torch"}


def test_another_build_of_the_same_torch_is_the_same() -> None:
    assert judged(node(1, versions=versions(torch="2.13.0+cu128"))) == []
    assert judged(node(1, versions=versions(torch="2.13.0"))) == []


def test_a_torch_that_cannot_use_the_gpus_of_its_node_is_a_warning() -> None:
    (finding,) = judged(replace(node(1), gpus=8.0))
    assert not finding.is_refusal
    assert "torch 2.13.0+cpu, which cannot use them" in finding.found
    assert judged(replace(node(1, versions=versions(torch="2.13.0+cu128")), gpus=8.0)) == []


def test_gpus_whose_memory_nobody_tells_are_a_warning() -> None:
    cuda = versions(torch="2.13.0+cu128")
    (finding,) = judged(replace(node(1, versions=cuda, gpu_bytes=None), gpus=2.0))
    assert not finding.is_refusal
    assert "nvidia-smi does not tell" in finding.found
    assert judged(node(1, gpu_bytes=None)) == [], "it has no GPUs"


@pytest.mark.parametrize(
    ("table", "smallest"),
    [
        ("", None),
        ("[N/A], [N/A]\n", None),
        ("143771, Disabled\n24576, [N/A]\n81559, Disabled\n", 24576 * 2**20),
        ("143771, Disabled\n143771, Enabled\n", 0),
        ("24576\n", 24576 * 2**20),
    ],
)
def test_the_smallest_gpu_counts_and_slices_are_not_shared(
    table: str, smallest: int | None
) -> None:
    assert preflight_node.smallest_of(table) == smallest


QUESTIONS = Questions(None, None, place=None, secret="", longest_s=64.0)


class Asked:
    """Nodes of which some answer not at once, and some not at all."""

    def __init__(self, *, answers_at: dict[int, int]) -> None:
        self.answers_at = answers_at
        self.asked: list[list[str]] = []

    def __call__(self, nodes: Sequence[Node], questions: Questions) -> list[NodeReport]:
        self.asked.append([node.node_id for node in nodes])
        return [self.report(int(one.node_id.removeprefix("id"))) for one in nodes]

    def report(self, n: int) -> NodeReport:
        if self.answers_at.get(n, 99) <= len(self.asked):
            return node(n)
        return replace(node(n), answer=None, silence="does not answer within 64 s")


def asked_living(
    ask: Asked, n_nodes: int, *, left: set[int], left_later: set[int] | None = None
) -> tuple[list[NodeReport], list[str]]:
    nodes, told = [machine(n, 8) for n in range(n_nodes)], list[str]()
    gone = iter([left, left | (left_later or set())])

    def living() -> list[Node]:
        away = next(gone)
        return [one for n, one in enumerate(nodes) if n not in away]

    return ask_living_nodes(nodes, QUESTIONS, told.append, ask=ask, living=living), told


def test_nodes_that_answer_are_asked_once() -> None:
    ask = Asked(answers_at={0: 1, 1: 1})
    reports, told = asked_living(ask, 2, left=set())
    assert [report.node_id for report in reports] == ["id0", "id1"]
    assert (len(ask.asked), told) == (1, [])


def test_a_node_that_dies_while_it_is_asked_is_left_out_and_told() -> None:
    ask = Asked(answers_at={0: 1, 2: 1})
    reports, told = asked_living(ask, 3, left={1})
    assert [report.node_id for report in reports] == ["id0", "id2"]
    assert told == ["warning: 10.77.0.1 (lab1) has left the cluster while it was asked"]
    assert len(ask.asked) == 1


def test_a_silent_node_that_lives_is_asked_once_more() -> None:
    ask = Asked(answers_at={0: 1, 1: 2})
    reports, told = asked_living(ask, 3, left=set())
    assert ask.asked == [["id0", "id1", "id2"], ["id1", "id2"]]
    assert told[0] == "10.77.0.1 (lab1) does not answer within 64 s: asking once more"
    assert {r.node_id: r.answer is not None for r in reports} == {
        "id0": True, "id1": True, "id2": False,
    }  # fmt: skip
    assert [finding.node for finding in judged(*reports)] == ["10.77.0.2 (lab2)"]


def test_a_node_that_dies_while_it_is_asked_again_is_left_out() -> None:
    reports, told = asked_living(Asked(answers_at={0: 1}), 2, left=set(), left_later={1})
    assert [report.node_id for report in reports] == ["id0"]
    assert "has left the cluster" in told[-1]
    assert asked_living(Asked(answers_at={}), 1, left={0})[0] == []


def test_many_nodes_and_shipped_code_may_take_longer() -> None:
    request = PreflightRequest("h:1", None, None, None, ResourcesConfig())
    assert [request.answer_within_s(n) for n in (1, 100)] == [62, 260]
    assert replace(request, ship_code=True).answer_within_s(1) == 122


Passed = tuple[FitNodes, list[str]]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Passed]:
    """Let nodes answer what this process would, or have no code of ours, and judge them."""
    own = preflight_node.look(question("", "", storage=None))

    def look(*, bad: Sequence[bool], continues: bool) -> Passed:
        request = PreflightRequest("h:1", None, None, None, ResourcesConfig(), continues=continues)
        answers = [Answer(**{**own, "code": "0ther" if is_bad else own["code"]}) for is_bad in bad]
        reports = [replace(node(n), answer=answer) for n, answer in enumerate(answers)]
        found = tuple(preflight.judged_nodes(request, reports))
        told = list[str]()
        monkeypatch.setattr(
            preflight, "_inspected", lambda *_: Inspection(tuple(reports), found, 0.0)
        )
        return preflight.preflight(request, told.append), told

    return look


def test_a_search_that_continues_goes_on_without_the_nodes_that_are_refused(
    passed: Callable[..., Passed],
) -> None:
    fit, told = passed(bad=[False, True], continues=True)
    assert [report.node_id for report in fit.reports] == ["id0"]
    ((node_id, why),) = fit.refused.items()
    assert node_id == "id1"
    (line,) = [line for line in told if "other sources" in line]
    assert line == f"warning: 10.77.0.1 (lab1): {why}; it gets no trials until then"


@pytest.mark.parametrize(("bad", "continues"), [([False, True], False), ([True, True], True)])
def test_a_search_neither_begins_beside_a_refused_node_nor_goes_on_without_any_other(
    bad: list[bool], continues: bool, passed: Callable[..., Passed]
) -> None:
    with pytest.raises(EnvironmentFault, match="cannot run trials of this search") as raised:
        passed(bad=bad, continues=continues)
    assert ("nothing has been trained" in (raised.value.hint or "")) == (not continues)


def test_once_nobody_waits_no_node_is_asked_and_no_ray_is_started(tmp_path: Path) -> None:
    request = PreflightRequest("h:1", str(tmp_path / "s"), None, None, ResourcesConfig())
    assert asked_nodes(request, [machine(1, 8)], is_stopped=lambda: True) == []
    assert not ray.is_initialized()
    assert list((tmp_path / "s").iterdir()) == []


@pytest.mark.parametrize(
    ("offset_s", "told"),
    [(0, ""), (59, ""), (-59, ""), (3600, "3600 s ahead"), (-61, "61 s behind")],
)
def test_a_clock_is_a_warning_beyond_a_minute(offset_s: float, told: str) -> None:
    found = judged(replace(node(1), clock_offset_s=offset_s))
    assert [told in finding.found for finding in found] == [True] * bool(told)
    assert not any(finding.is_refusal for finding in found)


@given(clock=st.floats(-1e9, 1e9), begin=st.floats(-1e6, 1e6), lasted=st.floats(0, 1e3))
def test_a_clock_is_off_by_no_more_than_is_certain(
    clock: float, begin: float, lasted: float
) -> None:
    """Nobody knows when within the window it was read."""
    end = begin + lasted
    offset = clock_offset_s(clock, (begin, end))
    assert (offset == 0) == (begin <= clock <= end)
    assert offset in (0, clock - end, clock - begin)


def test_the_free_space_of_the_shared_storage_is_told_once() -> None:
    told = judged(*(node(n, storage_free=10**9 + n) for n in range(3)))
    (finding,) = told
    assert not finding.is_refusal
    assert finding.node == "10.77.0.0 (lab0)"


@pytest.mark.parametrize("seen", ["absent", "other"])
def test_a_node_without_the_dataset_is_told_and_not_refused(seen: str) -> None:
    reports = [node(1), node(2, dataset=seen)]
    assert judged(*reports) == []
    assert dataset_note(reports[:1]) is None
    assert "10.77.0.2 (lab2)" in (dataset_note(reports) or "")
    assert [report.sees_dataset for report in reports] == [True, False]


def machine(n: int, cpus: float, gpus: float = 0) -> Node:
    return Node(f"id{n}", f"10.77.0.{n}", f"lab{n}", cpus, gpus)


def test_only_nodes_with_room_for_a_trial_are_asked() -> None:
    nodes = [machine(1, 0), machine(2, 8), machine(3, 8, 2), machine(4, 1, 2)]
    on = {
        gpus: [n.ip[-1] for n in nodes_of_trials(nodes, ResourcesConfig(cpus=2, gpus=gpus))]
        for gpus in ("auto", 0, 0.25, 1, 2, 3)
    }
    assert on == {"auto": ["3"], 0: ["2", "3"], 0.25: ["3"], 1: ["3"], 2: ["3"], 3: []}
    assert nodes_of_trials(nodes[:2], ResourcesConfig(cpus=2)) == [nodes[1]]
    assert nodes_of_trials([], ResourcesConfig()) == []


def test_waiting_says_for_what_and_what_there_is() -> None:
    line = waiting_line([machine(1, 8)], ResourcesConfig(gpus=1))
    assert line == "waiting for 1 GPU: the cluster has none yet; Ctrl-C stops"
    line = waiting_line([machine(1, 8, 1), machine(2, 64)], ResourcesConfig(gpus=2, cpus=4))
    assert "waiting for a node with 2 GPUs and 4 CPUs: the largest, 10.77.0.1 (lab1)" in line
    assert "has 64 CPUs" in waiting_line([machine(2, 64)], ResourcesConfig(gpus=0, cpus=65))
    error = no_room([machine(1, 8)], ResourcesConfig(gpus=1), "10.77.0.1:6379", 60.4)
    assert "(waited 60 s for nodes to join)" in str(error)
    assert "ray start --address=10.77.0.1:6379" in (error.hint or "")


def question(place: Path | str, secret: str, **more: str | None) -> Question:
    asked: Question = {
        "storage": str(place), "secret": secret, "name": "n1", "dataset": None, "digest": None,
        "gpus": False,
    }  # fmt: skip
    return {**asked, **more}  # type: ignore[typeddict-item]


def test_a_probe_goes_there_and_back_and_leaves_nothing(tmp_path: Path) -> None:
    for storage in (str(tmp_path / "s"), f"file://{tmp_path}/u"):
        place, secret = preflight_node.begin_probe(storage)
        answer = preflight_node.look(question(place, secret))
        assert answer["storage_fault"] is None
        assert preflight_node.read_probe(place, "n1") == secret
        preflight_node.end_probe(place)
        assert preflight_node.read_probe(place, "n1") is None
    assert list((tmp_path / "s").iterdir()) == list((tmp_path / "u").iterdir()) == []


def test_probes_of_a_killed_search_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for storage in (str(tmp_path), f"file://{tmp_path}"):
        (tmp_path / "trials").mkdir(exist_ok=True)
        place, secret = preflight_node.begin_probe(storage)
        assert preflight_node.read_probe(place, preflight_node.DRIVER_FILE) == secret
        preflight_node.end_stale_probes(storage)
        assert [path.name for path in tmp_path.iterdir()] == ["trials"]
        preflight_node.end_stale_probes(str(tmp_path / "none"))


@pytest.mark.slow
def test_a_probe_goes_to_an_s3_bucket_and_back_and_leaves_nothing(s3: S3Server) -> None:
    bucket = s3.bucket("preflight")
    place, secret = preflight_node.begin_probe(s3.uri("preflight/studies/ribs"))
    answer = preflight_node.look(question(place, secret))
    assert (answer["storage_fault"], answer["storage_free"]) == (None, None)
    assert preflight_node.read_probe(place, "n1") == secret
    preflight_node.end_probe(place)
    assert preflight_node.read_probe(place, "n1") is None
    assert open_storage(bucket).folders() in ([], ["studies"])
    elsewhere, _ = preflight_node.begin_probe(s3.uri("preflight/other"))
    assert preflight_node.look(question(elsewhere, "not this"))["storage_fault"] is not None


def test_a_key_in_a_uri_is_never_told() -> None:
    storage = "https://somebody:5ec4e7@storage/a?access_key=5ec4e7"
    fault = node(1, storage_fault="no")
    (finding,) = findings([fault], HERE, storage=storage, ship_code=False)
    assert "5ec4e7" not in str(finding)


def test_a_folder_of_the_same_name_elsewhere_is_no_shared_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight_node, "_SEEN_WITHIN_S", 0.0)
    place, secret = preflight_node.begin_probe(str(tmp_path))
    assert "not seen" in str(preflight_node.look(question(tmp_path, secret))["storage_fault"])
    preflight_node.write_probe(place, preflight_node.DRIVER_FILE, "of an older search")
    assert "something else" in str(preflight_node.look(question(place, secret))["storage_fault"])
    assert preflight_node.read_probe(place, "n1") is None


@pytest.mark.parametrize(
    ("manifest", "seen"),
    [('{"digest": "d1"}', "same"), ('{"digest": "d2"}', "other"), ("{}", "absent"),
     ("[]", "absent"), ("\x00", "absent"), (None, "absent")],
)  # fmt: skip
def test_a_dataset_is_known_by_the_digest_of_its_manifest(
    tmp_path: Path, manifest: str | None, seen: str
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    place, secret = preflight_node.begin_probe(str(tmp_path / "s"))
    answer = preflight_node.look(question(place, secret, dataset=str(tmp_path), digest="d1"))
    assert answer["dataset"] == seen


def test_the_hash_of_the_sources_sees_every_change_and_no_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package_of_a_node"
    monkeypatch.setattr(preflight_node, "PACKAGE", package.name)
    assert preflight_node.code_hash() is None
    (package / "search_spaces").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert preflight_node.code_hash() is None
    (package / "__init__.py").write_text("")
    importlib.invalidate_caches()
    hashes = [preflight_node.code_hash()]
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("table.csv", "1")):
        (package / name).write_text(text)
        hashes.append(preflight_node.code_hash())
    assert len(set(hashes)) == 4
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"x")
    assert preflight_node.code_hash() == hashes[-1]
    assert package.name not in sys.modules, "it was imported"

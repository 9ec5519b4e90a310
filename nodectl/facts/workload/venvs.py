"""Python environments: which packages for GPU work are in them, by the names of their folders.

What a wheel leaves behind is `torch-2.7.0+cu128.dist-info`: name and version, by the standard for installed packages
(https://packaging.python.org/en/latest/specifications/recording-installed-packages/). Nothing is imported or run.

Which environments is said by the inventory (`expect: {venvs: [/opt/train]}`): `asked_of` makes keys of the family
`venv[PATH]` of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nodectl.facts.conform import ERRORS_KEY
from nodectl.facts.reading import Row, command_trouble, one_line, origin
from nodectl.facts.registry import Context, FactSpec, Field, check_key
from nodectl.model import Fact, absent, error, present

if TYPE_CHECKING:
    from nodectl.probe.transcript import Section, SourceReply

SOURCE = "venvs"
EXPECTATION = "venvs"

_FIELDS = (
    Field("path", "str", "", "the environment"),
    Field("found", "bool", "", "it is there and holds a Python environment"),
    Field("python", "version", "", "version of its Python, by the name of its folder"),
    Field("torch", "version", "", "PyTorch"),
    Field("torch_build", "str", "", "what PyTorch was built for, by its version: cu128, cpu, rocm6.3; empty: not told"),
    Field("torch_cuda", "version", "", "CUDA toolkit that PyTorch was built with"),
    Field("triton", "version", "", "Triton"),
    Field("transformer_engine", "version", "", "Transformer Engine"),
    Field("flash_attn", "version", "", "FlashAttention 2"),
    Field("flash_attn_3", "version", "", "FlashAttention 3"),
    Field("flash_attn_4", "version", "", "FlashAttention 4"),
    Field("bitsandbytes", "version", "", "bitsandbytes"),
    Field("vllm", "version", "", "vLLM"),
    Field("deepspeed", "version", "", "DeepSpeed"),
    Field("xformers", "version", "", "xFormers"),
    Field("nccl", "version", "", "NCCL of the environment (nvidia-nccl-cu12, nvidia-nccl-cu13)"),
    Field("nccl_cuda_major", "int", "", "CUDA major that this NCCL was built for"),
    Field("cublas", "version", "", "cuBLAS of the environment"),
    Field("cudnn", "version", "", "cuDNN of the environment"),
)

FACTS: tuple[FactSpec, ...] = (
    FactSpec(
        name="workload.venvs",
        type="rows",
        source=SOURCE,
        about="Python environments that the inventory names (expect.venvs) and their packages for GPU work",
        fields=_FIELDS,
    ),
    FactSpec(
        name="venv[PATH]",
        type="row",
        source=SOURCE,
        about="One Python environment (a folder with lib/python3.*, or a site-packages folder) and its packages",
        fields=_FIELDS,
        keys_as_args=True,
    ),
)
_FAMILY = FACTS[1]
_MAX_ENVIRONMENTS = 32

# Name of a distribution in its normal form (PEP 503, with _) -> the field that it fills.
_DISTRIBUTIONS = {
    "torch": "torch",
    "triton": "triton",
    "pytorch_triton": "triton",
    "transformer_engine": "transformer_engine",
    "flash_attn": "flash_attn",
    "flash_attn_3": "flash_attn_3",
    "flash_attn_4": "flash_attn_4",
    "bitsandbytes": "bitsandbytes",
    "vllm": "vllm",
    "deepspeed": "deepspeed",
    "xformers": "xformers",
    "nvidia_nccl": "nccl",
    "nvidia_cublas": "cublas",
    "nvidia_cudnn": "cudnn",
}
_INFO = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,80}?)-v?([0-9][^/\s-]{0,80})(?:-py[0-9.]+)?\.(?:dist|egg)-info")
_CUDA_SUFFIX = re.compile(r"(nvidia_[a-z]+)_cu([0-9]{2})")
_SITE = re.compile(r".*/python(3\.[0-9]{1,3})/(?:site|dist)-packages")
_TORCH_LINE = re.compile(r"cuda\b[^=]{0,60}=\s*(?:'([0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,4})?)'|None)\s*")
_CUDA_TAG = re.compile(r"cu([0-9]{2})([0-9])")


def asked_of(expect: Mapping[str, Any]) -> list[str]:
    """The members of `venv[PATH]` that a node's expectations ask for.

    Args:
        expect: the node's `expect`; `venvs` is one path or a list of them.

    Returns:
        Names such as `venv[/opt/train]`. What is no absolute path, or could be more than a name in a shell, is left
        out: it is nowhere in `workload.venvs` then, which workload.environments tells.
    """
    return [f"venv[{path}]" for path in paths_of(expect.get(EXPECTATION)) if is_path(path)][:_MAX_ENVIRONMENTS]


def paths_of(value: Any) -> list[str]:
    """What the inventory names, each once: one path or a list of them."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return list(dict.fromkeys(str(one) for one in values if one not in (None, "")))


def is_path(path: str) -> bool:
    """Whether it can be asked of a node."""
    return path.startswith("/") and check_key(_FAMILY, path) is None


def parse_venvs(reply: SourceReply, context: Context) -> Iterable[Fact]:
    """Facts of the environments that were asked for."""
    found = {s.name.removeprefix("venv "): s for s in reply.sections if s.kind == "cmd" and s.name.startswith("venv ")}
    if found:
        rows = [_row(path, section) for path, section in found.items()]
        yield present("workload.venvs", rows, **origin(reply))
    elif reply.find("text", "no environments") is not None:
        yield absent("workload.venvs", "the inventory names none for this node (expect.venvs)", **origin(reply))
    else:
        yield error("workload.venvs", "the probe did not look for environments", **origin(reply))
    for key in context.keys_of("venv"):
        yield _member(key, reply, found.get(key))


def _member(key: str, reply: SourceReply, section: Section | None) -> Fact:
    name = f"venv[{key}]"
    if section is None:
        return error(name, "the probe did not look for it", **origin(reply))
    row = _row(key, section)
    if row["found"]:
        return present(name, row, **origin(reply, section))
    problem = row[ERRORS_KEY]["torch"]
    return (error if row["found"] is None else absent)(name, problem, **origin(reply, section))


def _row(path: str, section: Section) -> Row:
    """One environment. Of what is not there every package is in `_errors`: nothing can be said of it."""
    lines = [line.partition("\t")[::2] for line in section.text.split("\n")]
    sites = list(dict.fromkeys(text for kind, text in lines if kind == "site"))
    row: Row = {field.name: None for field in _FIELDS}
    row["path"] = path
    row["found"] = True
    problem = ""
    if section.rc != 0:
        missing = "No such file" in section.stderr
        row["found"] = False if missing else None
        problem = "there is no such folder" if missing else one_line(command_trouble(section))
    elif not sites:
        row["found"] = False
        problem = "it holds no Python environment (lib/python3.*/site-packages)"
    if problem:
        told = ("path",) if row["found"] is None else ("path", "found")
        row[ERRORS_KEY] = {field.name: f"{path}: {problem}" for field in _FIELDS if field.name not in told}
        return row
    versions = {match[1] for site in sites if (match := _SITE.fullmatch(site))}
    row["python"] = versions.pop() if len(versions) == 1 else None
    problems = _fill(row, [text for kind, text in lines if kind == "dist"])
    _fill_torch(row, [text for kind, text in lines if kind == "torch"], problems)
    if problems:
        row[ERRORS_KEY] = problems
    return row


def _fill(row: Row, folders: Iterable[str]) -> dict[str, str]:
    """Puts versions into the row; gives the fields of which there are several."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        match = _INFO.fullmatch(folder.strip())
        if match is None:
            continue
        name = re.sub(r"[-_.]+", "_", match[1]).lower()
        tagged = _CUDA_SUFFIX.fullmatch(name)
        field = _DISTRIBUTIONS.get(tagged[1] if tagged else name)
        if field is None:
            continue
        found.setdefault(field, set()).add(match[2])
        if tagged and field == "nccl":
            row["nccl_cuda_major"] = int(tagged[2])
    problems = {}
    for field, versions in found.items():
        if len(versions) > 1:
            problems[field] = f"several versions are installed over each other: {', '.join(sorted(versions))}"
        else:
            row[field] = versions.pop()
    return problems


def _fill_torch(row: Row, lines: list[str], problems: dict[str, str]) -> None:
    """Splits `2.7.0+cu128`, and takes the CUDA version that PyTorch itself states, else that of the tag."""
    if row["torch"] is None:
        return
    row["torch"], _, row["torch_build"] = row["torch"].partition("+")
    stated = [match for line in lines if (match := _TORCH_LINE.fullmatch(line.strip()))]
    if stated:
        row["torch_cuda"] = stated[-1][1]
        return
    tag = _CUDA_TAG.fullmatch(row["torch_build"])
    if tag is not None:
        row["torch_cuda"] = f"{int(tag[1])}.{int(tag[2])}"
    elif not row["torch_build"]:
        problems["torch_cuda"] = "neither torch/version.py nor the version says what PyTorch was built with"


SOURCES = {SOURCE: parse_venvs}

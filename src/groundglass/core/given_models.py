"""Models as users hand them in: programs of `torch.export`."""

from typing import Any

import torch
from torch import Tensor, nn


def as_model(given: Any) -> Any:
    """A model as it is called: of an exported program a module that takes any number of images; else what was given.

    Raises:
        ValueError: the program was exported in train mode.
    """
    if isinstance(given, torch.export.ExportedProgram):
        given = given.module()
    exported = isinstance(given, torch.fx.GraphModule) and any("val" in node.meta for node in given.graph.nodes)
    return Exported(given) if exported else given


class Exported(nn.Module):
    """An exported graph, images -> logits, for any number of rows.

    A program that was exported for a fixed batch is run on so many rows at a time, the last one repeated to fill it up.

    Args:
        program: of `ExportedProgram.module()`, with one input.

    Raises:
        ValueError: it was exported in train mode: its answer for an image depends on the other images, or on draws.
    """

    def __init__(self, program: torch.fx.GraphModule) -> None:
        super().__init__()
        self.program = program
        given = _input(program)
        self._sizes = [size if isinstance(size, int) else None for size in ([] if given is None else given.shape)]
        if kind := _in_train_mode(program):
            raise ValueError(
                f"the program was exported in train mode ({kind}), which cannot be changed any more: export model.eval(). If it "
                "is meant so, give a function: lambda images: program(images)"
            )

    def train(self, mode: bool = True) -> "Exported":
        """The program has no other mode than the one that it was exported in."""
        self.training = mode
        return self

    def forward(self, images: Tensor) -> Any:
        if not self._sizes:
            return self.program(images)
        wanted, shape = self._sizes[1:], list(images.shape)
        if len(wanted) != len(shape) - 1 or any(
            size not in (None, its) for size, its in zip(wanted, shape[1:], strict=True)
        ):
            shown = ", ".join("any" if size is None else str(size) for size in ("any", *wanted))
            raise ValueError(
                f"the program was exported for images of [{shown}], not {shape}: give such, or export it anew"
            )
        rows = self._sizes[0]
        if rows is None or rows == len(images):
            return self.program(images)
        missing = -len(images) % rows
        filled = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])]) if missing else images
        return joined([self.program(part) for part in filled.split(rows)], len(images))


def joined(outputs: list[Any], rows: int) -> Any:
    """What a model returned for one batch after another, as if it had been asked once: tensors, alone or in a dict or tuple."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.cat(outputs)[:rows] if first.ndim else first
    if isinstance(first, dict):
        return {name: joined([one[name] for one in outputs], rows) for name in first}
    if isinstance(first, tuple | list):
        return tuple(joined(list(parts), rows) for parts in zip(*outputs, strict=True))
    return first


def _input(program: torch.fx.GraphModule) -> Tensor | None:
    """What the only input looked like; None where that is not known."""
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    found = inputs[0].meta.get("val") if len(inputs) == 1 else None
    return found if isinstance(found, Tensor) else None


def _in_train_mode(program: torch.fx.GraphModule) -> str | None:
    """An operation that the graph does as in training: normalises by the batch, or drops at random."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
        # Without running statistics a norm is by the batch in eval mode, too: its owner has it so.
        norm = "running_mean" in given and given["running_mean"] is not None
        if (norm or given.get("p", 0)) and (given.get("training") is True or given.get("train") is True):
            return str(node.name)
    return None

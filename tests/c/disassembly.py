"""What `objdump -d --no-show-raw-insn` prints, as functions, basic blocks and loops. For x86-64 and Arm64."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple


class Instruction(NamedTuple):
    address: int
    name: str
    operands: str


class Block(NamedTuple):
    code: list[Instruction]
    next: list[int]  # addresses of blocks; where a conditional jump leads to comes before what follows it


class Machine(NamedTuple):
    """Patterns of an architecture: of whole names of instructions, and to search for in operands."""

    comment: str
    jump: str
    no_return: str  # after these, control does not go on to the next instruction
    call: str
    multiply_add: str
    product: str
    sum: str  # of floats or integers; a product and one of them make a multiply-add
    vector: str
    frame: tuple[str, str]  # the instruction that makes the frame pointer one
    stack: str
    framed_stack: str


MACHINES = {
    "x86_64": Machine(
        comment="#",
        jump=r"j\w+",
        no_return=r"jmp|ret\w*",
        call=r"call\w*",
        multiply_add=r"vfn?m(add|sub)\w*|vpdpbusd",
        product=r"mulps|v?pmaddwd",
        sum=r"addps|v?paddd",
        vector=r"%[xyz]mm",
        frame=("mov", "%rsp,%rbp"),
        stack=r"\(%rsp[,)]",
        framed_stack=r"\(%(rsp|rbp)[,)]",
    ),
    "aarch64": Machine(
        comment="//",
        jump=r"b|b\..+|cbn?z|tbn?z",
        no_return=r"b|br|ret",
        call=r"blr?",
        multiply_add=r"fml[as]|sdot|smull2",
        product="fmul",
        sum="fadd",
        vector=r"\b[qdsv]\d+",
        frame=("mov", "x29,sp"),
        stack=r"\[sp\b",
        framed_stack=r"\[(sp|x29)\b",
    ),
}


def functions(listing: str, machine: Machine) -> Iterator[tuple[str, list[Instruction]]]:
    """Every function and its instructions."""
    name, body = "", list[Instruction]()
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            if body:
                yield name, body
            name, body = re.sub(r"\.(constprop|isra|part)\b.*", "", header[1]), []
        elif code := re.match(
            r"\s*([0-9a-f]+):\s+(?:(?:notrack|bnd|rep\w*|lock|\{\w+\}) )?(\S+)\s*(.*)", line
        ):
            body.append(Instruction(int(code[1], 16), code[2], code[3].split(machine.comment)[0].strip()))
    if body:
        yield name, body


def basic_blocks(body: list[Instruction], machine: Machine) -> dict[int, Block]:
    """By the address of their first instruction."""
    known = {code.address for code in body}
    pairs = list(itertools.zip_longest(body, body[1:]))
    ends = f"{machine.jump}|{machine.call}|{machine.no_return}"
    begins = {body[0].address}
    for code, after in pairs:
        if after is not None and re.fullmatch(ends, code.name):
            begins.add(after.address)
        begins |= jump_target(code, machine) & known
    blocks: dict[int, Block] = {}
    for code, after in pairs:
        if code.address in begins:
            block = blocks[code.address] = Block([], [])
        block.code.append(code)
        if after is None or after.address in begins:
            block.next.extend(jump_target(code, machine) & known)
            if after is not None and not re.fullmatch(machine.no_return, code.name):
                block.next.append(after.address)
    return blocks


def jump_target(code: Instruction, machine: Machine) -> set[int]:
    target = re.search(r"(?:^|\s|,)([0-9a-f]+) <", code.operands)
    return {int(target[1], 16)} if target and re.fullmatch(machine.jump, code.name) else set()


def every_loop(body: list[Instruction], machine: Machine) -> list[dict[int, Block]]:
    """The blocks of every loop, header first, those that lie out of line included."""
    blocks = basic_blocks(body, machine)
    latches: dict[int, set[int]] = {}
    for latch, header in back_edges(blocks):
        latches.setdefault(header, set()).add(latch)
    loops = {header: rounds(blocks, header, ends, machine) for header, ends in latches.items()}
    return [
        {address: blocks[address] for address in [header, *sorted(loop - {header})]}
        for header, loop in loops.items()
    ]


def innermost_loops(body: list[Instruction], machine: Machine) -> list[dict[int, Block]]:
    """Those without another one inside."""
    loops = every_loop(body, machine)
    headers = {next(iter(loop)) for loop in loops}
    return [loop for loop in loops if len(headers & loop.keys()) == 1]


def back_edges(blocks: dict[int, Block]) -> Iterator[tuple[int, int]]:
    """Edges to a block on the way to their own: what closes a loop, in the code that compilers make."""
    seen, path = set[int](), set[int]()
    for entry in blocks:  # the first one reaches all but the targets of jump tables
        todo = [] if entry in seen else [(entry, iter(blocks[entry].next))]
        while todo:
            block, rest = todo[-1]
            seen.add(block)
            path.add(block)
            for after in rest:
                if after in path:
                    yield block, after
                elif after not in seen:
                    todo.append((after, iter(blocks[after].next)))
                    break
            else:
                path.remove(block)
                todo.pop()


def rounds(blocks: dict[int, Block], header: int, latches: set[int], machine: Machine) -> set[int]:
    """The blocks on the ways from the header of a loop to its end, those that call a function left out.

    Kernels call nothing but the activations that do not fit their epilogue, and there vectors have to be on
    the stack. A round that does is not the hot one.
    """
    calls = {address for address, block in blocks.items() if re.fullmatch(machine.call, block.code[-1].name)}
    before: dict[int, list[int]] = {}
    for block, (_, follow) in blocks.items():
        if block not in calls:
            for after in follow:
                before.setdefault(after, []).append(block)
    loop, todo = {header}, list(latches)
    while todo:
        if (block := todo.pop()) not in loop:
            loop.add(block)
            todo.extend(before.get(block, []))
    reached, todo = set[int](), [header]
    while todo:
        if (block := todo.pop()) not in reached:
            reached.add(block)
            follow = [] if block in calls else blocks[block].next
            todo.extend(after for after in follow if after in loop)
    return reached


def instructions(loop: dict[int, Block]) -> list[Instruction]:
    return [code for address in sorted(loop) for code in loop[address].code]


def multiply_adds(code: list[Instruction], machine: Machine) -> int:
    def count(pattern: str) -> int:
        return sum(re.fullmatch(pattern, one.name) is not None for one in code)

    return count(machine.multiply_add) + min(count(machine.product), count(machine.sum))


def stack_accesses(code: list[Instruction], machine: Machine, *, framed: bool) -> int:
    """Instructions with a vector register and an operand in memory at the address of the stack."""
    stack = machine.framed_stack if framed else machine.stack
    return sum(
        re.search(machine.vector, one.operands) is not None and re.search(stack, one.operands) is not None
        for one in code
    )


def has_frame(body: list[Instruction], machine: Machine) -> bool:
    """Without a frame its register holds anything."""
    return any((code.name, code.operands.replace(" ", "")) == machine.frame for code in body)

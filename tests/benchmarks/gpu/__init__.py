"""What models of real sizes cost on a GPU. `tests/benchmarks/bench_gpu.py` runs it.

| module | idea |
|---|---|
| `shapes` | models by their sizes: random weights, operations, bytes |
| `setting` | what is measured: the real setting and a toy one, clock and prompts |
| `runner` | parts with a time limit, one file each, that a second start does not repeat |
| `ceilings`, `probing`, `decoding`, `ranking`, `training`, `encoder`, `memory` | the parts |
| `summary`, `tables` | shares, ratios, what 100 device-hours buy; as Markdown |
"""

"""NVIDIA's cards as data: memory, rate of their tensor cores, bandwidth. One table for speed, `--gpu` and advice.

A rate is for dense products of 16-bit inputs with float32 sums, in TFLOP/s, and follows from NVIDIA's papers thus:

- data centre: the data sheet's tensor rate for bfloat16 or float16, without sparsity (half of what is printed with it);
- GeForce: the architecture's white paper, "FP16 with FP32 accumulate": twice the float32 rate; half of what the same
  chip reaches with float16 sums, or as a professional card (Turing, Ampere GA102, Ada and RTX Blackwell papers);
- professional cards: four times the data sheet's float32 rate (Turing: eight times), as NVIDIA counts them;
- laptops: from the "AI TOPS" of NVIDIA's comparison of laptops (float8 or float4 with sparsity; an eighth of them for
  the 40 series, a sixteenth for the 50 series); for the 30 series from cores x boost clock; at the highest power there;
- without tensor cores (Pascal): the float32 rate, in which products of float16 are summed.

What large products reach of that (`share`) is 0.8 on most cards (mamf-finder's table in stas00/ml-engineering: A100
0.81-0.87, H100 0.80, B200 0.78). It is 0.95 where the rate is cut to half or less of what the chip could do, as on
GeForce (an L20's cuBLAS reaches 105-115 of 119.5 TFLOP/s). It is 0.55 where 70-150 W do not hold it (T4, L4, A10).

Bandwidths, compute capabilities and sizes are those of the same sheets. `memory` is what CUDA calls the card's total:
less than is sold where it corrects errors (ECC) within its GDDR6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Capability = tuple[int, int]


@dataclass(frozen=True)
class Card:
    """A card: GB as sold, GiB that CUDA sees, TFLOP/s in 16 bits, GB/s, compute capability, source.

    `words` are those of its name that set it apart. `float32` is the rate of float32 products in TFLOP/s where tensor
    cores take no float32 (before Ampere); later ones take it as TF32, at half the rate of 16 bits. `share` is what
    large products reach of the rate.
    """

    name: str
    words: str
    gb: int
    memory: float
    tflops: float
    bandwidth: int
    capability: Capability
    source: str
    float32: float | None = None
    share: float = 0.8

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that CUDA sees."""
        return int(self.memory * 2**30)

    def products(self, *, float32: bool = False) -> float:
        """Operations a second that large products reach, in 16 bits or in float32 as this program has it computed."""
        rate = self.tflops if not float32 else self.tflops / 2 if self.float32 is None else self.float32
        return rate * 1e12 * self.share

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second that its memory moves."""
        return self.bandwidth * 1e9

    @property
    def bf16(self) -> bool:
        """Whether it computes in bfloat16."""
        return self.capability >= (8, 0)

    @property
    def model(self) -> str:
        """The name without a memory size: `A100` of `A100 80 GB`."""
        return self.name.removesuffix(f" {self.gb} GB")

    @property
    def sold_as(self) -> str:
        """The name and the memory it is sold with: `RTX 4090 (24 GB)`."""
        return self.name if self.name != self.model else f"{self.name} ({self.gb} GB)"


_PASCAL, _VOLTA, _TURING, _A100, _AMPERE, _ADA = (6, 0), (7, 0), (7, 5), (8, 0), (8, 6), (8, 9)
_PASCAL_GEFORCE, _HOPPER, _B200, _B300, _BLACKWELL, _SPARK = (6, 1), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)

_CUT, _HOT = 0.95, 0.55
_GEFORCE, _LAPTOPS = "NVIDIA's comparison of GeForce cards", "NVIDIA's comparison of laptops"

# Of cards whose names begin alike the usual one comes first: a name without more is taken for it.
CARDS: Final = (
    # Data centre
    Card("A100 80 GB", "a100", 80, 79.1, 312, 2039, _A100, "A100 data sheet"),
    Card("A100 40 GB", "a100", 40, 39.4, 312, 1555, _A100, "A100 data sheet"),
    Card("A100 PCIe 80 GB", "a100 pcie", 80, 79.1, 312, 1935, _A100, "A100 data sheet"),
    Card("A100 PCIe 40 GB", "a100 pcie", 40, 39.4, 312, 1555, _A100, "A100 data sheet"),
    Card("A800 80 GB", "a800", 80, 79.1, 312, 2039, _A100, "A800 data sheet"),
    Card("A800 40 GB", "a800", 40, 39.4, 312, 1555, _A100, "A800 40GB Active data sheet"),
    Card("A30", "a30", 24, 23.5, 165, 933, _A100, "A30 data sheet"),
    Card("A40", "a40", 48, 44.4, 149.7, 696, _AMPERE, "A40 data sheet"),
    Card("A10", "a10", 24, 22.1, 125, 600, _AMPERE, "A10 data sheet", share=_HOT),
    Card("A10G", "a10g", 24, 22.1, 70, 600, _AMPERE, "A10G, Amazon EC2 G5", share=_CUT),
    Card("A16", "a16", 16, 14.6, 17.9, 200, _AMPERE, "A16 data sheet, one of its four GPUs"),
    Card("A2", "a2", 16, 14.6, 18, 200, _AMPERE, "A2 data sheet"),
    Card("H100 80 GB", "h100", 80, 79.1, 989, 3350, _HOPPER, "H100 data sheet, SXM"),
    Card("H100 PCIe", "h100 pcie", 80, 79.1, 756, 2000, _HOPPER, "H100 data sheet, PCIe"),
    Card("H100 NVL", "h100 nvl", 94, 93.1, 835, 3900, _HOPPER, "H100 data sheet, NVL"),
    Card("H800", "h800", 80, 79.1, 989, 3350, _HOPPER, "H800 data sheet, SXM"),
    Card("H800 PCIe", "h800 pcie", 80, 79.1, 756, 2000, _HOPPER, "H800 data sheet, PCIe"),
    Card("H20", "h20", 96, 95.0, 148, 4000, _HOPPER, "H20 data sheet", share=_CUT),
    Card("H200", "h200", 141, 139.8, 989, 4800, _HOPPER, "H200 data sheet, SXM"),
    Card("H200 NVL", "h200 nvl", 141, 139.8, 835, 4800, _HOPPER, "H200 data sheet, NVL"),
    Card("GH200 96 GB", "gh200", 96, 94.5, 990, 4000, _HOPPER, "GH200 data sheet"),
    Card("GH200 144 GB", "gh200", 144, 140.0, 990, 4900, _HOPPER, "GH200 data sheet"),
    Card("B200", "b200", 180, 178.3, 2250, 7700, _B200, "HGX B200 data sheet"),
    Card("GB200", "gb200", 186, 184.0, 2500, 8000, _B200, "GB200 NVL72 data sheet"),
    Card("B300", "b300", 288, 268.0, 2250, 7700, _B300, "HGX B300 data sheet"),
    Card("GB300", "gb300", 288, 277.0, 2500, 8000, _B300, "GB300 NVL72 data sheet"),
    Card("L4", "l4", 24, 22.0, 121, 300, _ADA, "L4 data sheet", share=_HOT),
    Card("L40S", "l40s", 48, 44.4, 362, 864, _ADA, "L40S data sheet"),
    Card("L40", "l40", 48, 44.4, 181, 864, _ADA, "L40 data sheet", share=_CUT),
    Card("L20", "l20", 48, 44.4, 119.5, 864, _ADA, "L20 data sheet", share=_CUT),
    Card("T4", "t4", 16, 14.6, 65, 320, _TURING, "T4 data sheet", 8.1, share=_HOT),
    Card("V100 16 GB", "v100", 16, 15.8, 125, 900, _VOLTA, "V100 data sheet, SXM2", 15.7),
    Card("V100 32 GB", "v100", 32, 31.7, 125, 900, _VOLTA, "V100 data sheet, SXM2", 15.7),
    Card("V100 PCIe 16 GB", "v100 pcie", 16, 15.8, 112, 900, _VOLTA, "V100 data sheet, PCIe", 14.0),
    Card("V100 PCIe 32 GB", "v100 pcie", 32, 31.7, 112, 900, _VOLTA, "V100 data sheet, PCIe", 14.0),
    Card("V100S", "v100s", 32, 31.7, 130, 1134, _VOLTA, "V100S data sheet", 16.4),
    Card("P100 16 GB", "p100", 16, 15.9, 9.3, 732, _PASCAL, "P100 data sheet, PCIe", 9.3, share=_CUT),
    Card("P100 12 GB", "p100", 12, 11.9, 9.3, 549, _PASCAL, "P100 data sheet, PCIe", 9.3, share=_CUT),
    Card("P40", "p40", 24, 22.4, 11.8, 346, _PASCAL_GEFORCE, "P40 data sheet", 11.8, share=_CUT),
    # Professional
    Card("RTX 6000 Ada", "6000 ada", 48, 47.4, 364, 960, _ADA, "RTX 6000 Ada data sheet"),
    Card("RTX 5880 Ada", "5880 ada", 48, 47.4, 277, 960, _ADA, "RTX 5880 Ada data sheet"),
    Card("RTX 5000 Ada", "5000 ada", 32, 31.5, 261, 576, _ADA, "RTX 5000 Ada data sheet"),
    Card("RTX 4500 Ada", "4500 ada", 24, 23.6, 158, 432, _ADA, "RTX 4500 Ada data sheet"),
    Card("RTX 4000 Ada", "4000 ada", 20, 19.6, 107, 360, _ADA, "RTX 4000 Ada data sheet"),
    Card("RTX 4000 SFF Ada", "4000 sff ada", 20, 19.6, 77, 280, _ADA, "RTX 4000 SFF Ada data sheet"),
    Card("RTX 2000 Ada", "2000 ada", 16, 15.7, 48, 224, _ADA, "RTX 2000 Ada data sheet"),
    Card("RTX PRO 6000", "pro 6000", 96, 95.0, 503, 1792, _BLACKWELL, "RTX PRO 6000 data sheet, Workstation"),
    Card("RTX PRO 6000 Server", "pro 6000 server", 96, 95.0, 480, 1597, _BLACKWELL, "RTX PRO 6000 data sheet, Server"),
    Card("RTX PRO 6000 Max-Q", "pro 6000 maxq", 96, 95.0, 440, 1792, _BLACKWELL, "RTX PRO 6000 data sheet, Max-Q"),
    Card("RTX PRO 5000 48 GB", "pro 5000", 48, 47.3, 258, 1344, _BLACKWELL, "RTX PRO 5000 data sheet"),
    Card("RTX PRO 5000 72 GB", "pro 5000", 72, 71.0, 258, 1344, _BLACKWELL, "RTX PRO 5000 data sheet"),
    Card("RTX PRO 4500", "pro 4500", 32, 31.4, 211, 896, _BLACKWELL, "RTX PRO 4500 data sheet"),
    Card("RTX PRO 4000", "pro 4000", 24, 23.5, 156, 672, _BLACKWELL, "RTX PRO 4000 data sheet"),
    Card("RTX PRO 2000", "pro 2000", 16, 15.6, 68, 288, _BLACKWELL, "RTX PRO 2000 data sheet"),
    Card("RTX A6000", "a6000", 48, 47.5, 154.8, 768, _AMPERE, "RTX A6000 data sheet"),
    Card("RTX A5500", "a5500", 24, 23.7, 136, 768, _AMPERE, "RTX A5500 data sheet"),
    Card("RTX A5000", "a5000", 24, 23.7, 111, 768, _AMPERE, "RTX A5000 data sheet"),
    Card("RTX A4500", "a4500", 20, 19.7, 94.6, 640, _AMPERE, "RTX A4500 data sheet"),
    Card("RTX A4000", "a4000", 16, 15.7, 76.7, 448, _AMPERE, "RTX A4000 data sheet"),
    Card("RTX A2000 12 GB", "a2000", 12, 11.8, 32, 288, _AMPERE, "RTX A2000 data sheet"),
    Card("RTX A2000 6 GB", "a2000", 6, 5.8, 32, 288, _AMPERE, "RTX A2000 data sheet"),
    Card("Quadro RTX 8000", "quadro 8000", 48, 47.4, 130.5, 672, _TURING, "Quadro RTX 8000 data sheet", 16.3),
    Card("Quadro RTX 6000", "quadro 6000", 24, 23.6, 130.5, 672, _TURING, "Quadro RTX 6000 data sheet", 16.3),
    Card("Quadro RTX 5000", "quadro 5000", 16, 15.7, 89.2, 448, _TURING, "Quadro RTX 5000 data sheet", 11.2),
    Card("Quadro RTX 4000", "quadro 4000", 8, 7.8, 57, 416, _TURING, "Quadro RTX 4000 data sheet", 7.1),
    Card("GB10", "gb10", 128, 119.7, 125, 273, _SPARK, "DGX Spark data sheet; memory shared with the host"),
    # GeForce
    Card("RTX 5090", "5090", 32, 31.4, 209.5, 1792, _BLACKWELL, "RTX Blackwell paper", share=_CUT),
    Card("RTX 5080", "5080", 16, 15.5, 112.6, 960, _BLACKWELL, "RTX Blackwell paper", share=_CUT),
    Card("RTX 5070 Ti", "5070 ti", 16, 15.5, 87.9, 896, _BLACKWELL, "RTX Blackwell paper", share=_CUT),
    Card("RTX 5070", "5070", 12, 11.6, 61.7, 672, _BLACKWELL, "RTX Blackwell paper", share=_CUT),
    Card("RTX 5060 Ti 16 GB", "5060 ti", 16, 15.5, 47.4, 448, _BLACKWELL, _GEFORCE, share=_CUT),
    Card("RTX 5060 Ti 8 GB", "5060 ti", 8, 7.7, 47.4, 448, _BLACKWELL, _GEFORCE, share=_CUT),
    Card("RTX 5060", "5060", 8, 7.7, 38.4, 448, _BLACKWELL, _GEFORCE, share=_CUT),
    Card("RTX 5050", "5050", 8, 7.7, 26.4, 320, _BLACKWELL, _GEFORCE, share=_CUT),
    Card("RTX 4090", "4090", 24, 23.6, 165.2, 1008, _ADA, "Ada paper", share=_CUT),
    Card("RTX 4090 D", "4090 d", 24, 23.6, 147, 1008, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4080", "4080", 16, 15.7, 97.5, 717, _ADA, "Ada paper", share=_CUT),
    Card("RTX 4080 SUPER", "4080 super", 16, 15.7, 104.4, 736, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4070 Ti", "4070 ti", 12, 11.7, 80.2, 504, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4070 Ti SUPER", "4070 ti super", 16, 15.7, 88.2, 672, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4070", "4070", 12, 11.7, 58.3, 504, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4070 SUPER", "4070 super", 12, 11.7, 71, 504, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4060 Ti 8 GB", "4060 ti", 8, 7.6, 44.1, 288, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4060 Ti 16 GB", "4060 ti", 16, 15.7, 44.1, 288, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 4060", "4060", 8, 7.6, 30.2, 272, _ADA, _GEFORCE, share=_CUT),
    Card("RTX 3090", "3090", 24, 23.6, 71, 936, _AMPERE, "GA102 paper", share=_CUT),
    Card("RTX 3090 Ti", "3090 ti", 24, 23.6, 80, 1008, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3080 10 GB", "3080", 10, 9.7, 59.5, 760, _AMPERE, "GA102 paper", share=_CUT),
    Card("RTX 3080 12 GB", "3080", 12, 11.7, 61.3, 912, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3080 Ti", "3080 ti", 12, 11.7, 68.2, 912, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3070", "3070", 8, 7.7, 40.6, 448, _AMPERE, "GA102 paper", share=_CUT),
    Card("RTX 3070 Ti", "3070 ti", 8, 7.7, 43.5, 608, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3060 12 GB", "3060", 12, 11.7, 25.5, 360, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3060 8 GB", "3060", 8, 7.7, 25.5, 240, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3060 Ti", "3060 ti", 8, 7.7, 32.4, 448, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3050 8 GB", "3050", 8, 7.7, 18.2, 224, _AMPERE, _GEFORCE, share=_CUT),
    Card("RTX 3050 6 GB", "3050", 6, 5.8, 13.5, 168, _AMPERE, _GEFORCE, share=_CUT),
    Card("TITAN RTX", "titan rtx", 24, 23.6, 130.5, 672, _TURING, "Turing paper", 16.3, share=_CUT),
    Card("RTX 2080 Ti", "2080 ti", 11, 10.7, 53.8, 616, _TURING, "Turing paper", 13.4, share=_CUT),
    Card("RTX 2080", "2080", 8, 7.8, 40.3, 448, _TURING, "Turing paper", 10.1, share=_CUT),
    Card("RTX 2080 SUPER", "2080 super", 8, 7.8, 44.6, 496, _TURING, _GEFORCE, 11.2, share=_CUT),
    Card("RTX 2070", "2070", 8, 7.8, 29.9, 448, _TURING, "Turing paper", 7.5, share=_CUT),
    Card("RTX 2070 SUPER", "2070 super", 8, 7.8, 36.2, 448, _TURING, _GEFORCE, 9.1, share=_CUT),
    Card("RTX 2060 6 GB", "2060", 6, 5.8, 25.8, 336, _TURING, _GEFORCE, 6.5, share=_CUT),
    Card("RTX 2060 12 GB", "2060", 12, 11.7, 28.7, 336, _TURING, _GEFORCE, 7.2, share=_CUT),
    Card("RTX 2060 SUPER", "2060 super", 8, 7.8, 28.7, 448, _TURING, _GEFORCE, 7.2, share=_CUT),
    Card("GTX 1080 Ti", "1080 ti", 11, 10.9, 11.3, 484, _PASCAL_GEFORCE, _GEFORCE, 11.3, share=_CUT),
    Card("GTX 1080", "1080", 8, 7.9, 8.9, 320, _PASCAL_GEFORCE, _GEFORCE, 8.9, share=_CUT),
    Card("GTX 1070", "1070", 8, 7.9, 6.5, 256, _PASCAL_GEFORCE, _GEFORCE, 6.5, share=_CUT),
    # Laptops
    Card("RTX 5090 Laptop", "5090 laptop", 24, 23.5, 114, 896, _BLACKWELL, _LAPTOPS),
    Card("RTX 5080 Laptop", "5080 laptop", 16, 15.5, 83, 896, _BLACKWELL, _LAPTOPS),
    Card("RTX 5070 Ti Laptop", "5070 ti laptop", 12, 11.6, 62, 672, _BLACKWELL, _LAPTOPS),
    Card("RTX 5070 Laptop", "5070 laptop", 8, 7.6, 49.9, 384, _BLACKWELL, _LAPTOPS),
    Card("RTX 5060 Laptop", "5060 laptop", 8, 7.6, 35.8, 384, _BLACKWELL, _LAPTOPS),
    Card("RTX 5050 Laptop", "5050 laptop", 8, 7.6, 27.5, 384, _BLACKWELL, _LAPTOPS),
    Card("RTX 4090 Laptop", "4090 laptop", 16, 15.6, 85.7, 576, _ADA, _LAPTOPS),
    Card("RTX 4080 Laptop", "4080 laptop", 12, 11.6, 67.7, 432, _ADA, _LAPTOPS),
    Card("RTX 4070 Laptop", "4070 laptop", 8, 7.6, 40.1, 256, _ADA, _LAPTOPS),
    Card("RTX 4060 Laptop", "4060 laptop", 8, 7.6, 29.1, 256, _ADA, _LAPTOPS),
    Card("RTX 4050 Laptop", "4050 laptop", 6, 5.6, 24.2, 192, _ADA, _LAPTOPS),
    Card("RTX 3080 Ti Laptop", "3080 ti laptop", 16, 15.6, 47.2, 512, _AMPERE, _LAPTOPS),
    Card("RTX 3080 Laptop 16 GB", "3080 laptop", 16, 15.6, 42, 448, _AMPERE, _LAPTOPS),
    Card("RTX 3080 Laptop 8 GB", "3080 laptop", 8, 7.6, 42, 448, _AMPERE, _LAPTOPS),
    Card("RTX 3070 Ti Laptop", "3070 ti laptop", 8, 7.6, 35, 448, _AMPERE, _LAPTOPS),
    Card("RTX 3070 Laptop", "3070 laptop", 8, 7.6, 33.2, 448, _AMPERE, _LAPTOPS),
    Card("RTX 3060 Laptop", "3060 laptop", 6, 5.6, 26.2, 336, _AMPERE, _LAPTOPS),
    Card("RTX 3050 Ti Laptop", "3050 ti laptop", 4, 3.7, 17.4, 192, _AMPERE, _LAPTOPS),
    Card("RTX 3050 Laptop", "3050 laptop", 4, 3.7, 14.3, 192, _AMPERE, _LAPTOPS),
)  # fmt: skip

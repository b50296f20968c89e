from __future__ import annotations

import itertools

import pytest

from finetune_core.errors import FtError
from finetune_core.hardware.card_names import card_of, named, nearest, part_of
from finetune_core.hardware.cards import CARDS
from finetune_core.hardware.elsewhere import gpu_elsewhere


def name_of(driver: str) -> str | None:
    card = card_of(driver)
    return card.name if card else None


@pytest.mark.parametrize(
    ("driver", "card"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", "RTX 4090 D"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 3050 Ti Laptop GPU", "RTX 3050 Ti Laptop"),
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80 GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 PCIe 40 GB"),
        ("NVIDIA A10-24Q", "A10"),
        ("NVIDIA H100 80GB HBM3", "H100 80 GB"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA GH200 480GB", "GH200 96 GB"),
        ("Tesla V100S-PCIE-32GB", "V100S"),
        ("Tesla V100-SXM2-32GB", "V100 32 GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("Quadro RTX 6000", "Quadro RTX 6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 Max-Q"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("NVIDIA GB10", "GB10"),
    ],
)
def test_the_drivers_names_are_known(driver: str, card: str) -> None:
    assert name_of(driver) == card


@pytest.mark.parametrize(
    "driver",
    [
        "NVIDIA RTX A5000 Laptop GPU", "NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU",
        "NVIDIA GeForce RTX 2080 with Max-Q Design", "TITAN V", "NVIDIA A100X", "NVIDIA Graphics Device", "NVIDIA", "",
    ],
)  # fmt: skip
def test_a_card_of_another_name_has_no_rate_rather_than_a_wrong_one(driver: str) -> None:
    assert card_of(driver) is None


@pytest.mark.parametrize("number", ["5090", "5080", "5070 Ti", "4090", "4080", "4070", "4060", "3080", "3070"])
def test_a_laptops_card_is_slower_than_the_desktops_of_its_number(number: str) -> None:
    desktop, laptop = (card_of(f"NVIDIA GeForce RTX {number}{more}") for more in ("", " Laptop GPU"))
    assert desktop is not None
    assert laptop is not None
    assert laptop.tflops < desktop.tflops
    assert laptop.bandwidth <= desktop.bandwidth


def test_the_memory_tells_cards_of_one_name_apart() -> None:
    assert [card_of("NVIDIA GeForce RTX 3080", gb << 30).name for gb in (10, 12)] == [  # type: ignore[union-attr]
        "RTX 3080 10 GB",
        "RTX 3080 12 GB",
    ]


def test_a_slice_of_a_card_has_its_sevenths() -> None:
    assert name_of("NVIDIA A100-SXM4-40GB MIG 3g.20gb") == "A100 40 GB"
    assert part_of("NVIDIA A100-SXM4-40GB MIG 3g.20gb") == pytest.approx(3 / 7)
    assert part_of("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb") == pytest.approx(1 / 7)
    assert part_of("NVIDIA H100 80GB HBM3") == 1


def test_each_card_is_found_by_its_own_names_however_they_are_typed() -> None:
    for card in CARDS:
        assert card_of(card.name, card.memory_bytes) == card
        for name in (card.name, card.sold_as, f"NVIDIA {card.name}", f"{card.words} {card.gb}gb"):
            for form in (name, name.lower(), name.replace(" ", ""), name.replace(" ", "-"), name.replace(" ", "_")):
                found = named(form)
                assert found is not None, form
                assert found.card == card, form


def test_the_table_is_plausible() -> None:
    assert len({card.name for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert 0.88 * card.gb <= card.memory <= card.gb
        # Of everything sold, between 10 and 1,200 operations for each byte that its memory moves.
        assert 10 < card.tflops * 1e12 / card.bytes_per_s < 1200
        assert (card.float32 is None) == card.bf16
        assert card.source


@pytest.mark.parametrize(
    ("typed", "card"),
    [
        ("4090", "RTX 4090"), ("RTX 4090", "RTX 4090"), ("rtx4090", "RTX 4090"), ("geforce-rtx-4090", "RTX 4090"),
        ("1x4090", "RTX 4090"), ("4090 laptop", "RTX 4090 Laptop"), ("4090m", "RTX 4090 Laptop"),
        ("a100-40", "A100 40 GB"), ("A100 40GB", "A100 40 GB"), ("a100 80gb", "A100 80 GB"), ("a100", "A100 80 GB"),
        ("A100 SXM4 80 GB", "A100 80 GB"), ("h100", "H100 80 GB"), ("h100 pcie", "H100 PCIe"), ("H100-94", "H100 NVL"),
        ("4060ti", "RTX 4060 Ti 8 GB"), ("4060 Ti 16GB", "RTX 4060 Ti 16 GB"), ("4080", "RTX 4080"),
        ("4080s", "RTX 4080 SUPER"), ("4070tisuper", "RTX 4070 Ti SUPER"), ("3090 ti", "RTX 3090 Ti"),
        ("a6000", "RTX A6000"), ("RTX A6000", "RTX A6000"), ("A6000 Ada", "RTX 6000 Ada"), ("rtx 6000", "RTX 6000 Ada"),
        ("pro 6000", "RTX PRO 6000"), ("rtx 6000 blackwell", "RTX PRO 6000"), ("tesla t4", "T4"), ("l40s", "L40S"),
        ("v100 32", "V100 32 GB"), ("p100", "P100 16 GB"), ("dgx spark", "GB10"), ("2080ti", "RTX 2080 Ti"),
        ("b200 192gb", "B200"), ("b300", "B300"), ("4090 desktop", "RTX 4090"), ("24GB VRAM", "a GPU of 24 GB"),
        ("RTX 3060 12GB VRAM", "RTX 3060 12 GB"), ("NVIDIA A10G Tensor Core GPU", "A10G"),
        ("24", "a GPU of 24 GB"), ("24GB", "a GPU of 24 GB"), ("24 GiB", "a GPU of 24 GB"),
        ("79.5", "a GPU of 79.5 GB"),
    ],
)  # fmt: skip
def test_names_are_understood_as_people_type_them(typed: str, card: str) -> None:
    assert gpu_elsewhere(typed)[0].name == card


def test_a_name_that_could_be_several_cards_says_which_it_was_taken_for() -> None:
    for typed, others in (("a100", "A100 40 GB"), ("4060 ti", "RTX 4060 Ti 16 GB"), ("4080", "RTX 4080 SUPER (16 GB)")):
        said = gpu_elsewhere(typed)[1]
        assert said is not None
        assert "is taken for the" in said
        assert others in said
    assert gpu_elsewhere("3090 ti")[1] is None
    assert gpu_elsewhere("24GB")[1] is None


@pytest.mark.parametrize(
    ("typed", "near"),
    [("4095", "RTX 4090"), ("rtx 4900", "RTX 4090"), ("a100-60", "A100 40 GB"), ("h1000", "H100")],
)
def test_an_unknown_name_lists_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(FtError) as caught:
        gpu_elsewhere(typed)
    assert near in caught.value.problems[0].why
    assert any(near in name for name in nearest(typed))


@pytest.mark.parametrize("typed", ["2x4090", "8 x H100", "4090 x2", "4x RTX 4090", "2x24GB"])
def test_several_gpus_are_refused_as_such(typed: str) -> None:
    with pytest.raises(FtError) as caught:
        gpu_elsewhere(typed)
    assert "trains on one GPU" in caught.value.problems[0].why


@pytest.mark.parametrize("typed", ["", "much", "0", "-3GB", "1e9GB", "24 MB", "4096", "rtx", "super", "mi300x"])
def test_what_is_neither_card_nor_size_is_refused(typed: str) -> None:
    with pytest.raises(FtError) as caught:
        gpu_elsewhere(typed)
    assert "no card this program knows" in caught.value.problems[0].what


@pytest.mark.parametrize("typed", ["mi300x", "7900 xtx", "RX 7900", "Intel Arc A770", "tpu v5e", "m3 max"])
def test_a_card_of_another_maker_is_said_to_be_one(typed: str) -> None:
    with pytest.raises(FtError) as caught:
        gpu_elsewhere(typed)
    assert "NVIDIA's cards" in caught.value.problems[0].why
    assert "nearest" not in caught.value.problems[0].why


def test_no_two_cards_have_the_same_words_and_size() -> None:
    for one, other in itertools.combinations(CARDS, 2):
        assert (one.words, one.gb) != (other.words, other.gb)

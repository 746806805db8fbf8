import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from auditkit.errors import UnreadableError
from auditkit.sources.decoding import decode
from auditkit.sources.folders import FolderFile


def files(folder: Path, *names: str) -> list[FolderFile]:
    return [FolderFile(folder / name, f"a/{name}", "a") for name in names]


def save(folder: Path, name: str, image: Image.Image) -> None:
    image.save(folder / name)


def test_equal_small_images_keep_their_size_and_colour(tmp_path: Path) -> None:
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    save(tmp_path, "a.png", Image.fromarray(red))
    save(tmp_path, "b.bmp", Image.fromarray(red[..., 0]))
    decoded = decode(files(tmp_path, "a.png", "b.bmp"))
    assert decoded.pixels.shape == (2, 20, 30, 3)
    assert np.array_equal(decoded.pixels[0], red)
    assert decoded.pixels[1, 0, 0].tolist() == [200, 200, 200]
    assert decoded.sentences == ["The images are 30 by 20 pixels, in colour."]


def test_grey_pictures_are_grey_whatever_their_mode(tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    for name, image in (("a.png", grey), ("b.ppm", grey.convert("RGB")), ("c.gif", grey)):
        save(tmp_path, name, image)
    decoded = decode(files(tmp_path, "a.png", "b.ppm", "c.gif"))
    assert decoded.pixels.shape == (3, 8, 8)
    assert (decoded.pixels == np.asarray(grey)).all()


def test_sixteen_bits_and_floats_come_down_to_eight(tmp_path: Path) -> None:
    deep = np.full((8, 8), 32896, np.uint16)
    save(tmp_path, "a.png", Image.fromarray(deep))
    save(tmp_path, "b.tif", Image.fromarray(np.full((8, 8), 0.5, np.float32)))
    decoded = decode(files(tmp_path, "a.png", "b.tif"))
    assert decoded.pixels.shape == (2, 8, 8)
    assert abs(decoded.pixels.astype(int) - 128).max() <= 1


def test_other_sizes_are_fitted_into_the_common_one(tmp_path: Path) -> None:
    white = Image.new("L", (200, 100), "white")
    for name in ("a.png", "b.jpg", "c.webp"):
        save(tmp_path, name, white)
    save(tmp_path, "d.png", Image.new("L", (10, 10), "white"))
    decoded = decode(files(tmp_path, "a.png", "b.jpg", "c.webp", "d.png"))
    assert decoded.pixels.shape == (4, 64, 64)
    assert (decoded.pixels[0, 20:44] > 250).all()
    assert (decoded.pixels[0, :15] == 0).all()
    assert (decoded.pixels[3] > 250).all()
    assert "scaled to 64 by 64 pixels, grey, with bars" in decoded.sentences[0]
    assert decoded.changes == decoded.sentences


def test_nothing_is_said_of_images_that_have_the_size_of_others(tmp_path: Path) -> None:
    save(tmp_path, "a.png", Image.new("L", (16, 16), "white"))
    like = np.zeros((1, 16, 16), np.uint8)
    assert decode(files(tmp_path, "a.png"), like=like).changes == []
    save(tmp_path, "a.png", Image.new("L", (20, 24), "white"))
    (said,) = decode(files(tmp_path, "a.png"), like=like).changes
    assert said.startswith("The images were scaled to 16 by 16 pixels")


def test_images_too_small_for_the_network_are_enlarged(tmp_path: Path) -> None:
    save(tmp_path, "a.png", Image.new("L", (4, 4)))
    assert decode(files(tmp_path, "a.png")).pixels.shape == (1, 64, 64)


def test_transparency_is_white_and_palettes_are_colours(tmp_path: Path) -> None:
    save(tmp_path, "a.png", Image.new("RGBA", (8, 8), (255, 0, 0, 0)))
    save(tmp_path, "b.png", Image.new("RGB", (8, 8), (0, 0, 255)).convert("P"))
    save(tmp_path, "c.png", Image.new("LA", (8, 8), (0, 0)))
    decoded = decode(files(tmp_path, "a.png", "b.png", "c.png"))
    assert decoded.pixels[:, 0, 0].tolist() == [[255] * 3, [0, 0, 255], [255] * 3]


def test_queries_take_the_size_and_colour_of_the_first_images(tmp_path: Path) -> None:
    save(tmp_path, "a.png", Image.new("RGB", (30, 30), (0, 255, 0)))
    grey = decode(files(tmp_path, "a.png"), like=np.zeros((1, 16, 12), np.uint8))
    assert grey.pixels.shape == (1, 16, 12)
    assert grey.pixels[0, 8, 6] == 150  # the luminance of green
    save(tmp_path, "b.png", Image.new("L", (30, 30), 7))
    colour = decode(files(tmp_path, "b.png"), like=np.zeros((1, 16, 16, 3), np.uint8))
    assert colour.pixels.shape == (1, 16, 16, 3)


def test_few_unreadable_images_are_skipped_and_named(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    for name in names:
        save(tmp_path, name, Image.new("L", (8, 8)))
    (tmp_path / "3.png").write_bytes((tmp_path / "4.png").read_bytes()[:-30])
    (tmp_path / "5.png").write_text("<script>alert(1)</script>")
    decoded = decode(files(tmp_path, *names))
    assert len(decoded.pixels) == len(decoded.files) == 18
    assert decoded.unreadable == ("a/3.png", "a/5.png")
    assert decoded.sentences[1] == "Unreadable images skipped: 2 ('a/3.png', 'a/5.png')."
    (tmp_path / "6.png").write_bytes(b"")
    with pytest.raises(UnreadableError, match=r"3 of 20 images cannot be read \('a/3\.png'"):
        decode(files(tmp_path, *names))


def test_nothing_readable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match=r"1 of 1 images cannot be read"):
        decode(files(tmp_path, "missing.png"))


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    for name, side in (("a.png", 8_000), ("b.png", 12_000), ("c.png", 60_000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UnreadableError, match=r"3 of 3 images"):
        decode(files(tmp_path, "a.png", "b.png", "c.png"))


def test_formats_that_start_programs_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EOF\n")
    with pytest.raises(UnreadableError):
        decode(files(tmp_path, "a.png"))

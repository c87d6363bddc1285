"""CAM++: the context that its masks are computed from, and their extent."""

import pytest
import torch

from models.CAMPPlus import Head, MaskedConvolution, segment_context


def test_context_is_the_mean_of_the_utterance_plus_that_of_each_segment():
    frames = torch.arange(250.0).expand(1, 3, 250)
    # means of 0..249, and of 0..99, 100..199, 200..249: the last segment has 50 frames
    expected = 124.5 + torch.tensor([49.5, 149.5, 224.5])
    torch.testing.assert_close(segment_context(frames, None), expected.expand(1, 3, 3))


def test_context_of_a_padded_batch_is_that_of_each_utterance_alone():
    lengths = [250, 230, 200, 101, 100, 7]
    frames = torch.randn(6, 4, 250) + 5.0
    mask = torch.arange(250) < torch.tensor(lengths)[:, None]
    together = segment_context(frames, mask)
    assert together.isfinite().all()
    for row, length in enumerate(lengths):
        alone = segment_context(frames[row : row + 1, :, :length], None)
        torch.testing.assert_close(together[row, :, : alone.shape[2]], alone[0])


def test_each_segment_has_a_mask_of_its_own():
    layer = MaskedConvolution(dilation=2).eval()
    frames = torch.randn(2, 128, 250)
    with torch.no_grad():
        scales = layer(frames) / layer.linear_local(frames)  # (B, 32, L)
        hidden = layer.linear1(segment_context(frames, None)).relu()
        gates = layer.linear2(hidden).sigmoid()  # (B, 32, 3)
    for segment, (start, end) in enumerate([(0, 100), (100, 200), (200, 250)]):
        expected = gates[:, :, segment : segment + 1].expand(-1, -1, end - start)
        torch.testing.assert_close(scales[:, :, start:end], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("n_mels", "channels"), [(80, 320), (64, 256), (41, 192), (5, 32)])
def test_channels_after_the_head_follow_from_the_bands(n_mels, channels):
    head = Head(n_mels)
    assert head(torch.randn(2, n_mels, 9)).shape == (2, channels, 9)
    assert head.out_channels == channels

"""Alpha compositing of projected Gaussians from near to far, and its gradients, tile by tile.

Symbols: N Gaussians, P pairs of a tile and a Gaussian, C channels, H x W pixels, S slots of consecutive tiles.

* ``at`` [N, 2], ``conics`` [N, 3], ``reach`` [N, 2]    as in :mod:`semantic_ns.splatting.project_numba`
* ``first`` [T + 1], ``members`` [P]                    as in :mod:`semantic_ns.splatting.tiles_numba`
* ``opacities`` [N]       o
* ``features`` [N, C]     f
* ``more`` [N, D]         further features, most of which are 0
* ``image`` [H, W, C + D] sum_i w_i f_i, with w_i = alpha_i prod_{j < i} (1 - alpha_j)
* ``left`` [H, W]         prod (1 - alpha_j), the light that passes all of them

alpha = min(0.999, o exp(-(a dx^2 + c dy^2) / 2 - b dx dy)), and 0 where that is below 1/255. A pixel is finished before
the first Gaussian that would leave it less than 1e-4 of the light. A leading ``g_`` is the gradient of the loss in what
follows.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel, part
from semantic_ns.kernels.exponential_numba import exp32
from semantic_ns.splatting.tiles_numba import TILE, stride

_LARGEST_ALPHA, _LEAST_ALPHA, _LEAST_LIGHT = np.float32(0.999), np.float32(1 / 255), np.float32(1e-4)
_GEOMETRY = 6
"""Gradients of a pair that are no features: mean (2), conic (3), opacity."""
_PAIRS_BETWEEN_LOOKS = 8
_LANES = TILE // 2
"""Pixels of a row that are composited at once: half of those of a tile."""
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@inlined_part
@no_type_check
def _rows_of(row, half, top, rows):
    """First row of a tile that a Gaussian reaches, and the one behind the last."""
    low = math.ceil(row - half - _HALF - top)
    high = math.floor(row + half - _HALF - top) + 1
    return min(max(low, 0), rows), min(max(high, 0), rows)


@inlined_part
@no_type_check
def _shares(dx, dy, a, b, c, opacity, left, is_live, alphas, weights):
    """Fill ``alphas`` and ``weights`` of a row of a tile, or of half of it, and go on with its light.

    ``dx`` is the distance of the first pixel from the mean; the light and the rest are of as many pixels. That number
    is not a constant: loops of a constant eight are unrolled by the compiler, and then not made vector code.
    """
    bb, cc = b * dy, _HALF * c * dy * dy
    for i in range(len(weights)):
        x = dx + np.float32(i)
        alpha = min(_LARGEST_ALPHA, opacity * exp32(-(_HALF * a * x * x + bb * x + cc)))
        alpha = alpha if alpha >= _LEAST_ALPHA else _ZERO
        after = left[i] * (_ONE - alpha)
        live = is_live[i] if after > _LEAST_LIGHT else _ZERO
        alphas[i] = alpha * live
        weights[i] = alphas[i] * left[i]
        left[i] = after if live > _ZERO else left[i]
        is_live[i] = live


@inlined_part
@no_type_check
def _halves_of(dx, half):
    """The first half of a tile that a Gaussian reaches, and the one behind the last: most reach one alone.

    ``dx`` is the distance of the first column from the mean, and ``half`` half the width that the Gaussian reaches.
    """
    start = 1 if -dx - half > np.float32(_LANES - 1) else 0
    stop = 1 if half - dx < np.float32(_LANES) else 2
    return start, stop


@inlined_part
@no_type_check
def _find_features(features, more, values, channels):
    """Fill ``values`` and ``channels`` [C + D] with the features [C] and [D] of a Gaussian that are not 0.

    Returns:
        How many there are: of the classes of a Gaussian, most are 0.
    """
    count, first = 0, len(features)
    for channel in range(first):
        if features[channel] != _ZERO:
            values[count], channels[count] = features[channel], channel
            count += 1
    for channel in range(len(more)):
        if more[channel] != _ZERO:
            values[count], channels[count] = more[channel], first + channel
            count += 1
    return count


@inlined_part
@no_type_check
def _add_features(values, channels, count, weights, sums):
    """Add features that :func:`_find_features` found to half a row ``sums`` [C + D, LANES]."""
    for k in range(count):
        value, channel = values[k], channels[k]
        for i in range(len(weights)):
            sums[channel, i] += weights[i] * value


@inlined_part
@no_type_check
def _is_finished(is_live, pairs_seen):
    """Whether no pixel of a tile is live any more; this is looked up after every eighth Gaussian."""
    if pairs_seen % _PAIRS_BETWEEN_LOOKS != 0:
        return False
    for y in range(TILE):
        for i in range(TILE):
            if is_live[y, i] > _ZERO:
                return False
    return True


@inlined_part
@no_type_check
def _pixels_alive(rows, wide):
    """1 in each pixel of a tile that lies in the image, else 0."""
    is_live = np.zeros((TILE, TILE), np.float32)
    is_live[:rows, :wide] = _ONE
    return is_live


@part
@no_type_check
def put_rows(rows, values, channel, features):
    """Fill channels of ``features`` [N, C], from ``channel`` on, by ``values`` [M, k] of the Gaussians ``rows`` [M]."""
    for i in range(len(rows)):
        for k in range(values.shape[1]):
            features[rows[i], channel + k] = values[i, k]


@kernel
@no_type_check
def composite(first, members, at, conics, reach, opacities, features, more, image, left):
    """Fill ``image`` and ``left``."""
    height, width, channels = image.shape
    columns = (width + TILE - 1) // TILE
    num = len(first) - 1
    step = stride(num)
    for place in prange(num):
        tile = place * step % num
        y0, x0 = tile // columns * TILE, tile % columns * TILE
        rows, wide = min(TILE, height - y0), min(TILE, width - x0)
        light, is_live = np.ones((TILE, TILE), np.float32), _pixels_alive(rows, wide)
        lights, are_live = light.reshape(TILE, 2, _LANES), is_live.reshape(TILE, 2, _LANES)
        sums = np.zeros((TILE, 2, channels, _LANES), np.float32)
        alphas, weights = np.empty(_LANES, np.float32), np.empty(_LANES, np.float32)
        values, channels_of = np.empty(channels, np.float32), np.empty(channels, np.int64)
        for pair in range(first[tile], first[tile + 1]):
            n = members[pair]
            low, high = _rows_of(at[n, 1], reach[n, 1], np.float32(y0), rows)
            dx = np.float32(x0) + _HALF - at[n, 0]
            start, stop = _halves_of(dx, reach[n, 0])
            count = _find_features(features[n], more[n], values, channels_of)
            for y in range(low, high):
                dy = np.float32(y0 + y) + _HALF - at[n, 1]
                for half in range(start, stop):
                    _shares(dx + np.float32(_LANES * half), dy, conics[n, 0], conics[n, 1], conics[n, 2], opacities[n],
                            lights[y, half], are_live[y, half], alphas, weights)  # fmt: skip
                    _add_features(values, channels_of, count, weights, sums[y, half])
            if _is_finished(is_live, pair - first[tile] + 1):
                break
        for y in range(rows):
            for i in range(wide):
                left[y0 + y, x0 + i] = light[y, i]
                for channel in range(channels):
                    image[y0 + y, x0 + i, channel] = sums[y, i // _LANES, channel, i % _LANES]


@kernel
@no_type_check
def composite_backward(  # noqa: C901  # one walk over pairs, rows and pixels
    first, members, at, conics, reach, opacities, features, image, left, g_image, g_left, g_pairs
):  # fmt: skip
    """Fill ``g_pairs`` [P, 6 + C]: mean x, y, conic a, b, c, opacity and features of each pair.

    The light behind a Gaussian is the whole image less what lies before it, so pairs are walked from near to far, too.
    """
    height, width, channels = image.shape
    columns = (width + TILE - 1) // TILE
    num = len(first) - 1
    step = stride(num)
    for place in prange(num):
        tile = place * step % num
        y0, x0 = tile // columns * TILE, tile % columns * TILE
        rows, wide = min(TILE, height - y0), min(TILE, width - x0)
        light, is_live = np.ones((TILE, TILE), np.float32), _pixels_alive(rows, wide)
        cotangent = np.zeros((TILE, channels, TILE), np.float32)
        behind = np.zeros((TILE, TILE), np.float32)  # what is still to come, times its cotangent
        for y in range(rows):
            for i in range(wide):
                # Light that passes all is one more Gaussian behind the others, of cotangent g_left.
                behind[y, i] = g_left[y0 + y, x0 + i] * left[y0 + y, x0 + i]
                for channel in range(channels):
                    cotangent[y, channel, i] = g_image[y0 + y, x0 + i, channel]
                    behind[y, i] += g_image[y0 + y, x0 + i, channel] * image[y0 + y, x0 + i, channel]
        alphas, weights, before = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
        toward = np.empty(TILE, np.float32)
        lanes = np.empty((_GEOMETRY + channels, TILE), np.float32)
        is_done = False
        for pair in range(first[tile], first[tile + 1]):
            if is_done:
                g_pairs[pair] = _ZERO
                continue
            n = members[pair]
            lanes[:] = _ZERO
            a, b, c, opacity = conics[n, 0], conics[n, 1], conics[n, 2], opacities[n]
            low, high = _rows_of(at[n, 1], reach[n, 1], np.float32(y0), rows)
            dx = np.float32(x0) + _HALF - at[n, 0]
            for y in range(low, high):
                dy = np.float32(y0 + y) + _HALF - at[n, 1]
                for i in range(TILE):
                    before[i] = light[y, i]
                    toward[i] = _ZERO
                _shares(dx, dy, a, b, c, opacity, light[y], is_live[y], alphas, weights)
                for channel in range(channels):
                    value = features[n, channel]
                    for i in range(TILE):
                        toward[i] += value * cotangent[y, channel, i]
                        lanes[_GEOMETRY + channel, i] += weights[i] * cotangent[y, channel, i]
                for i in range(TILE):
                    x, alpha = dx + np.float32(i), alphas[i]
                    behind[y, i] -= weights[i] * toward[i]
                    g_alpha = before[i] * toward[i] - behind[y, i] / (_ONE - alpha)
                    # Where alpha is 0, or held at its largest value, nothing changes it.
                    g_alpha = g_alpha if _ZERO < alpha < _LARGEST_ALPHA else _ZERO
                    g_power = -alpha * g_alpha
                    lanes[0, i] -= g_power * (a * x + b * dy)
                    lanes[1, i] -= g_power * (b * x + c * dy)
                    lanes[2, i] += _HALF * g_power * x * x
                    lanes[3, i] += g_power * x * dy
                    lanes[4, i] += _HALF * g_power * dy * dy
                    lanes[5, i] += alpha * g_alpha
            for kind in range(_GEOMETRY + channels):
                total = _ZERO
                for i in range(TILE):
                    total += lanes[kind, i]
                g_pairs[pair, kind] = total
            g_pairs[pair, 5] /= opacity
            is_done = _is_finished(is_live, pair - first[tile] + 1)


@kernel
@no_type_check
def add_pairs(members, g_pairs, num_slots, by_slot, g_gaussians):
    """Fill ``g_gaussians`` [N, 6 + C] with the sums over pairs; ``by_slot`` [S, N, 6 + C] is zero before."""
    num = len(members)
    for slot in prange(num_slots):
        for pair in range(slot * num // num_slots, (slot + 1) * num // num_slots):
            n = members[pair]
            for kind in range(g_pairs.shape[1]):
                by_slot[slot, n, kind] += g_pairs[pair, kind]
    for n in prange(g_gaussians.shape[0]):
        for kind in range(g_pairs.shape[1]):
            total = _ZERO
            for slot in range(num_slots):
                total += by_slot[slot, n, kind]
            g_gaussians[n, kind] = total


@kernel
@no_type_check
def add_votes(first, members, at, conics, reach, opacities, labels, by_slot):
    """Add to ``by_slot`` [S, N, C] the weights that each Gaussian has in pixels of each class.

    It is the gradient of the image in the features for one-hot cotangents. ``labels`` [H, W] are 0..C-1, void is -1.
    """
    height, width = labels.shape
    columns, num_slots = (width + TILE - 1) // TILE, by_slot.shape[0]
    num = len(first) - 1
    for slot in prange(num_slots):
        for tile in range(slot * num // num_slots, (slot + 1) * num // num_slots):
            y0, x0 = tile // columns * TILE, tile % columns * TILE
            rows, wide = min(TILE, height - y0), min(TILE, width - x0)
            light, is_live = np.ones((TILE, TILE), np.float32), _pixels_alive(rows, wide)
            alphas, weights = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
            if not (labels[y0 : y0 + rows, x0 : x0 + wide] >= 0).any():
                continue
            for pair in range(first[tile], first[tile + 1]):
                n = members[pair]
                low, high = _rows_of(at[n, 1], reach[n, 1], np.float32(y0), rows)
                dx = np.float32(x0) + _HALF - at[n, 0]
                for y in range(low, high):
                    dy = np.float32(y0 + y) + _HALF - at[n, 1]
                    _shares(dx, dy, conics[n, 0], conics[n, 1], conics[n, 2], opacities[n], light[y], is_live[y],
                            alphas, weights)  # fmt: skip
                    for i in range(wide):
                        label = labels[y0 + y, x0 + i]
                        if label >= 0 and weights[i] > _ZERO:
                            by_slot[slot, n, label] += weights[i]
                if _is_finished(is_live, pair - first[tile] + 1):
                    break


@kernel
@no_type_check
def find_middles(first, members, at, conics, reach, opacities, middles):
    """Fill ``middles`` [H, W] with the Gaussian behind which less than half of the light is left, -1 for none."""
    height, width = middles.shape
    columns = (width + TILE - 1) // TILE
    num = len(first) - 1
    step = stride(num)
    for place in prange(num):
        tile = place * step % num
        y0, x0 = tile // columns * TILE, tile % columns * TILE
        rows, wide = min(TILE, height - y0), min(TILE, width - x0)
        light, is_live = np.ones((TILE, TILE), np.float32), _pixels_alive(rows, wide)
        alphas, weights = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
        middles[y0 : y0 + rows, x0 : x0 + wide] = -1
        for pair in range(first[tile], first[tile + 1]):
            n = members[pair]
            low, high = _rows_of(at[n, 1], reach[n, 1], np.float32(y0), rows)
            dx = np.float32(x0) + _HALF - at[n, 0]
            for y in range(low, high):
                dy = np.float32(y0 + y) + _HALF - at[n, 1]
                _shares(dx, dy, conics[n, 0], conics[n, 1], conics[n, 2], opacities[n], light[y], is_live[y],
                        alphas, weights)  # fmt: skip
                for i in range(wide):
                    if light[y, i] < _HALF and middles[y0 + y, x0 + i] < 0:
                        middles[y0 + y, x0 + i] = n
            if _is_finished(is_live, pair - first[tile] + 1):
                break


@kernel
@no_type_check
def add_responsibilities(  # noqa: C901  # two walks over pairs, rows and pixels
    first, members, at, conics, reach, opacities, labels, probabilities, by_slot
):  # fmt: skip
    """Add to ``by_slot`` [S, N, C] the share of each labelled pixel that each Gaussian answers for.

    With the probabilities p [N, C] of its classes a Gaussian answers for w_n p_n(c) / sum_j w_j p_j(c) of a pixel of
    class c; a pixel in which no Gaussian may have its class is left out. ``labels`` [H, W] are 0..C-1, void is -1.
    """
    height, width = labels.shape
    columns, num_slots = (width + TILE - 1) // TILE, by_slot.shape[0]
    num = len(first) - 1
    for slot in prange(num_slots):
        for tile in range(slot * num // num_slots, (slot + 1) * num // num_slots):
            y0, x0 = tile // columns * TILE, tile % columns * TILE
            rows, wide = min(TILE, height - y0), min(TILE, width - x0)
            if not (labels[y0 : y0 + rows, x0 : x0 + wide] >= 0).any():
                continue
            alphas, weights = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
            together = np.zeros((TILE, TILE), np.float32)
            for walk in range(2):
                light, is_live = np.ones((TILE, TILE), np.float32), _pixels_alive(rows, wide)
                for pair in range(first[tile], first[tile + 1]):
                    n = members[pair]
                    low, high = _rows_of(at[n, 1], reach[n, 1], np.float32(y0), rows)
                    dx = np.float32(x0) + _HALF - at[n, 0]
                    for y in range(low, high):
                        dy = np.float32(y0 + y) + _HALF - at[n, 1]
                        _shares(dx, dy, conics[n, 0], conics[n, 1], conics[n, 2], opacities[n], light[y], is_live[y],
                                alphas, weights)  # fmt: skip
                        for i in range(wide):
                            label = labels[y0 + y, x0 + i]
                            if label >= 0 and weights[i] > _ZERO:
                                share = weights[i] * probabilities[n, label]
                                if walk == 0:
                                    together[y, i] += share
                                elif share > _ZERO:
                                    by_slot[slot, n, label] += share / together[y, i]
                    if _is_finished(is_live, pair - first[tile] + 1):
                        break


@part
@no_type_check
def take_votes(rows, by_slot, places, weights):
    """Fill ``places`` and ``weights`` with what ``by_slot`` [S, N, C] has of the Gaussians ``rows``, and set it to 0.

    The place of class c of Gaussian n is C n + c; what is 0 has none.

    Returns:
        how many there are, C for each of the rows at most.
    """
    count, channels = 0, by_slot.shape[2]
    for n in rows:
        for c in range(channels):
            total = _ZERO
            for slot in range(by_slot.shape[0]):
                total += by_slot[slot, n, c]
                by_slot[slot, n, c] = _ZERO
            if total > _ZERO:
                places[count], weights[count] = np.int64(n) * channels + c, total
                count += 1
    return count

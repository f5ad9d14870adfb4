"""Projection of Gaussians into one pinhole camera, and its gradients.

Symbols: N Gaussians; camera coordinates have the axes of OpenCV (x right, y down, z ahead).

* ``means`` [N, 3], ``quats`` [N, 4] (w, x, y, z, of any length), ``scales`` [N, 3]   in the world
* ``opacities`` [N]          o, in 0..1
* ``w2c`` [3, 4]             world to camera
* ``lens`` [4]               fx, fy, cx, cy in pixels
* ``at`` [N, 2]              projected mean, pixels; the centre of the first pixel is at 0.5
* ``conics`` [N, 3]          a, b, c of the inverse [[a, b], [b, c]] of the 2D covariance with its blur
* ``depths`` [N]             planar depth
* ``reach`` [N, 2]           half the width and height in pixels in which alpha can be 1/255 or more; 0 if not visible
* ``shown`` [N]              o sqrt(r), the opacity that an antialiased image shows; of no length where none is
* ``blur``                   b, a variance in pixels² that is added to the 2D covariance

r = det S / det (S + b I), with the 2D covariance S = P P^T of a Gaussian before its blur, P = T R diag(scales),
[2, 3], and T the Jacobian in the camera. By Cauchy and Binet det S is the squared norm of the cross product of the rows
of P, so that nothing is lost in a difference of large numbers.

A leading ``g_`` is the gradient of the loss in what follows.
"""

import math
from typing import no_type_check

import numpy as np
from numba import prange

from semantic_ns.kernels.compilation import inlined_part, kernel

_MARGIN = np.float32(0.3)
"""Share of half the image by which the Jacobian follows a mean beyond the border of the image."""
_LEAST_ALPHA = np.float32(1 / 255)
_GAUSSIANS_PER_TASK = 512
_ZERO, _ONE, _TWO, _HALF = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)


@inlined_part
@no_type_check
def rotation(w, x, y, z):
    """The matrix of a unit quaternion, row by row."""
    return (
        _ONE - _TWO * (y * y + z * z), _TWO * (x * y - w * z), _TWO * (x * z + w * y),
        _TWO * (x * y + w * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z - w * x),
        _TWO * (x * z - w * y), _TWO * (y * z + w * x), _ONE - _TWO * (x * x + y * y),
    )  # fmt: skip


@inlined_part
@no_type_check
def _clamped(value, low, high):
    return min(max(value, low), high)


@inlined_part
@no_type_check
def _limits(focal, centre, length):
    """Least and largest tangent at which the Jacobian is taken (Zwicker et al. 2001, as gsplat bounds it)."""
    margin = _MARGIN * _HALF * length / focal
    return -(centre / focal + margin), (length - centre) / focal + margin


@inlined_part
@no_type_check
def _camera_rows(w2c, fx, fy, u, v, z):
    """J W, [2, 3]: the Jacobian of the projection times the rotation into the camera, row by row."""
    sx, sy = fx / z, fy / z
    return (
        sx * (w2c[0, 0] - u * w2c[2, 0]), sx * (w2c[0, 1] - u * w2c[2, 1]), sx * (w2c[0, 2] - u * w2c[2, 2]),
        sy * (w2c[1, 0] - v * w2c[2, 0]), sy * (w2c[1, 1] - v * w2c[2, 1]), sy * (w2c[1, 2] - v * w2c[2, 2]),
    )  # fmt: skip


@inlined_part
@no_type_check
def _axis(t, r, scales, axis):
    """A column of P, [2]: an axis of a Gaussian in pixels."""
    p = (t[0] * r[axis] + t[1] * r[3 + axis] + t[2] * r[6 + axis]) * scales[axis]
    q = (t[3] * r[axis] + t[4] * r[3 + axis] + t[5] * r[6 + axis]) * scales[axis]
    return p, q


@inlined_part
@no_type_check
def _before_blur(t, r, scales):
    """S before its blur, a, b, c and its determinant."""
    p0, q0 = _axis(t, r, scales, 0)
    p1, q1 = _axis(t, r, scales, 1)
    p2, q2 = _axis(t, r, scales, 2)
    u, v, w = p0 * q1 - p1 * q0, p0 * q2 - p2 * q0, p1 * q2 - p2 * q1
    return (
        p0 * p0 + p1 * p1 + p2 * p2, p0 * q0 + p1 * q1 + p2 * q2, q0 * q0 + q1 * q1 + q2 * q2, u * u + v * v + w * w
    )  # fmt: skip


@inlined_part
@no_type_check
def _share_kept(a, c, determinant, blur):
    """1 - r, r and det (S + b I), of a, c and the determinant before the blur."""
    added = blur * (a + c) + blur * blur
    blurred = determinant + added
    return added / blurred, determinant / blurred, blurred


@kernel
@no_type_check
def project(
    means, quats, scales, opacities, w2c, lens, width, height, near, blur, at, conics, depths, reach, shown
):  # fmt: skip
    """Fill ``at``, ``conics``, ``depths``, ``reach`` and ``shown``; all but ``reach`` only where one is visible."""
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    u_low, u_high = _limits(fx, cx, width)
    v_low, v_high = _limits(fy, cy, height)
    num = means.shape[0]
    for task in prange((num + _GAUSSIANS_PER_TASK - 1) // _GAUSSIANS_PER_TASK):
        for n in range(task * _GAUSSIANS_PER_TASK, min(num, (task + 1) * _GAUSSIANS_PER_TASK)):
            reach[n, 0] = reach[n, 1] = _ZERO
            m0, m1, m2 = means[n, 0], means[n, 1], means[n, 2]
            z = w2c[2, 0] * m0 + w2c[2, 1] * m1 + w2c[2, 2] * m2 + w2c[2, 3]
            opacity = opacities[n]
            if not (z > near and opacity > _LEAST_ALPHA):
                continue
            x = (w2c[0, 0] * m0 + w2c[0, 1] * m1 + w2c[0, 2] * m2 + w2c[0, 3]) / z
            y = (w2c[1, 0] * m0 + w2c[1, 1] * m1 + w2c[1, 2] * m2 + w2c[1, 3]) / z
            t = _camera_rows(w2c, fx, fy, _clamped(x, u_low, u_high), _clamped(y, v_low, v_high), z)
            w, i, j, k = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
            norm = _ONE / max(math.sqrt(w * w + i * i + j * j + k * k), np.float32(1e-12))
            r = rotation(w * norm, i * norm, j * norm, k * norm)
            a, b, c = blur, _ZERO, blur
            for axis in range(3):
                p, q = _axis(t, r, scales[n], axis)
                a += p * p
                b += p * q
                c += q * q
            determinant = a * c - b * b
            if len(shown) > 0:
                before = _before_blur(t, r, scales[n])
                _, kept, _ = _share_kept(before[0], before[2], before[3], blur)
                opacity *= math.sqrt(kept)
                if not opacity > _LEAST_ALPHA:
                    continue
                shown[n] = opacity
            column, row = fx * x + cx, fy * y + cy
            extent = _TWO * math.log(opacity / _LEAST_ALPHA)
            wide, high = math.sqrt(extent * a), math.sqrt(extent * c)
            is_inside = column + wide > 0 and column - wide < width and row + high > 0 and row - high < height
            # A NaN or a determinant that has lost all its digits is not visible.
            if not (is_inside and determinant > 0 and determinant < np.inf):
                continue
            at[n, 0], at[n, 1], depths[n] = column, row, z
            conics[n, 0], conics[n, 1], conics[n, 2] = c / determinant, -b / determinant, a / determinant
            reach[n, 0], reach[n, 1] = wide, high


@kernel
@no_type_check
def project_backward(
    means, quats, scales, opacities, w2c, lens, width, height, blur, visible, conics,
    g_at, g_conics, g_depths, g_shown, g_means, g_quats, g_scales, g_opacities,
):  # fmt: skip
    """Fill ``g_means``, ``g_quats`` and ``g_scales`` of the Gaussians ``visible``; all others are left as they are.

    ``g_opacities`` are filled as well, from ``g_shown``, where the image is antialiased; else both have no length.
    """
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    u_low, u_high = _limits(fx, cx, width)
    v_low, v_high = _limits(fy, cy, height)
    num = visible.shape[0]
    for task in prange((num + _GAUSSIANS_PER_TASK - 1) // _GAUSSIANS_PER_TASK):
        for index in range(task * _GAUSSIANS_PER_TASK, min(num, (task + 1) * _GAUSSIANS_PER_TASK)):
            n = visible[index]
            m0, m1, m2 = means[n, 0], means[n, 1], means[n, 2]
            z = w2c[2, 0] * m0 + w2c[2, 1] * m1 + w2c[2, 2] * m2 + w2c[2, 3]
            x = (w2c[0, 0] * m0 + w2c[0, 1] * m1 + w2c[0, 2] * m2 + w2c[0, 3]) / z
            y = (w2c[1, 0] * m0 + w2c[1, 1] * m1 + w2c[1, 2] * m2 + w2c[1, 3]) / z
            u, v = _clamped(x, u_low, u_high), _clamped(y, v_low, v_high)
            t = _camera_rows(w2c, fx, fy, u, v, z)
            w, i, j, k = quats[n, 0], quats[n, 1], quats[n, 2], quats[n, 3]
            norm = _ONE / max(math.sqrt(w * w + i * i + j * j + k * k), np.float32(1e-12))
            w, i, j, k = w * norm, i * norm, j * norm, k * norm
            r = rotation(w, i, j, k)
            # Of the inverse Q to the covariance: -Q G Q, with half of the gradient of b on each side.
            a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
            ga, gb, gc = g_conics[n, 0], _HALF * g_conics[n, 1], g_conics[n, 2]
            e00, e01 = ga * a + gb * b, ga * b + gb * c
            e10, e11 = gb * a + gc * b, gb * b + gc * c
            s00, s01, s11 = -(a * e00 + b * e10), -(a * e01 + b * e11), -(b * e01 + c * e11)
            if len(g_shown) > 0:
                sa, sb, sc, determinant = _before_blur(t, r, scales[n])
                lost, kept, blurred = _share_kept(sa, sc, determinant, blur)
                factor = math.sqrt(kept)
                g_opacities[n] = g_shown[n] * factor
                # Of the root at 0, where its slope has no end, as gsplat has it.
                g_kept = g_shown[n] * opacities[n] * _HALF / (factor + np.float32(1e-6)) / blurred
                s00 += g_kept * (sc * lost - blur * kept)
                s01 -= g_kept * sb * lost
                s11 += g_kept * (sa * lost - blur * kept)
            # Covariance P P^T with P = T R S, [2, 3]; G P is half of the gradient of P.
            gt0 = gt1 = gt2 = gt3 = gt4 = gt5 = _ZERO
            g_r = (
                _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
            )  # fmt: skip
            for axis in range(3):
                scale = scales[n, axis]
                r0, r1, r2 = r[axis], r[3 + axis], r[6 + axis]
                p, q = t[0] * r0 + t[1] * r1 + t[2] * r2, t[3] * r0 + t[4] * r1 + t[5] * r2
                gp = _TWO * (s00 * p + s01 * q) * scale
                gq = _TWO * (s01 * p + s11 * q) * scale
                g_scales[n, axis] = gp * p + gq * q
                gp, gq = gp * scale, gq * scale
                gt0, gt1, gt2 = gt0 + gp * r0, gt1 + gp * r1, gt2 + gp * r2
                gt3, gt4, gt5 = gt3 + gq * r0, gt4 + gq * r1, gt5 + gq * r2
                column = (gp * t[0] + gq * t[3], gp * t[1] + gq * t[4], gp * t[2] + gq * t[5])
                if axis == 0:
                    g_r = (column[0], g_r[1], g_r[2], column[1], g_r[4], g_r[5], column[2], g_r[7], g_r[8])
                elif axis == 1:
                    g_r = (g_r[0], column[0], g_r[2], g_r[3], column[1], g_r[5], g_r[6], column[2], g_r[8])
                else:
                    g_r = (g_r[0], g_r[1], column[0], g_r[3], g_r[4], column[1], g_r[6], g_r[7], column[2])
            gw = _TWO * (i * (g_r[7] - g_r[5]) + j * (g_r[2] - g_r[6]) + k * (g_r[3] - g_r[1]))
            gi = _TWO * (
                j * (g_r[1] + g_r[3]) + k * (g_r[2] + g_r[6]) + w * (g_r[7] - g_r[5]) - _TWO * i * (g_r[4] + g_r[8])
            )
            gj = _TWO * (
                i * (g_r[1] + g_r[3]) + k * (g_r[5] + g_r[7]) + w * (g_r[2] - g_r[6]) - _TWO * j * (g_r[0] + g_r[8])
            )
            gk = _TWO * (
                i * (g_r[2] + g_r[6]) + j * (g_r[5] + g_r[7]) + w * (g_r[3] - g_r[1]) - _TWO * k * (g_r[0] + g_r[4])
            )
            along = gw * w + gi * i + gj * j + gk * k
            g_quats[n, 0], g_quats[n, 1] = norm * (gw - along * w), norm * (gi - along * i)
            g_quats[n, 2], g_quats[n, 3] = norm * (gj - along * j), norm * (gk - along * k)
            # T = diag(fx, fy) / z [W_0 - u W_2; W_1 - v W_2].
            sx, sy = fx / z, fy / z
            gz = g_depths[n] - (gt0 * t[0] + gt1 * t[1] + gt2 * t[2] + gt3 * t[3] + gt4 * t[4] + gt5 * t[5]) / z
            gx, gy = fx * g_at[n, 0], fy * g_at[n, 1]
            if u_low <= x <= u_high:
                gx -= sx * (gt0 * w2c[2, 0] + gt1 * w2c[2, 1] + gt2 * w2c[2, 2])
            if v_low <= y <= v_high:
                gy -= sy * (gt3 * w2c[2, 0] + gt4 * w2c[2, 1] + gt5 * w2c[2, 2])
            gx, gy = gx / z, gy / z
            gz -= gx * x + gy * y
            for axis in range(3):
                g_means[n, axis] = gx * w2c[0, axis] + gy * w2c[1, axis] + gz * w2c[2, axis]

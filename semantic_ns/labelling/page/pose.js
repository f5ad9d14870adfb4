// How a camera is turned and moved. A rotation is three rows [right, up, back] of x, y and z; z is up in the world.

export const TURN = 0.004; // radians for each pixel that the pointer moves
export const STEP = 0.03; // of the room's size

// Rotation and position of a pose of twelve numbers, row by row.
export function parted(pose) {
  const rotation = [0, 1, 2].map((row) => [0, 1, 2].map((column) => pose[4 * row + column]));
  return { rotation, position: [3, 7, 11].map((place) => pose[place]) };
}

export const joined = (rotation, position) => rotation.flatMap((row, i) => [...row, position[i]]);

// About the world's vertical, and about the camera's horizontal axis, no further than straight up and straight down.
export function turned(rotation, dx, dy) {
  const [c, s] = [Math.cos(-dx * TURN), Math.sin(-dx * TURN)];
  const [x, y, z] = rotation;
  const about = [x.map((value, i) => c * value - s * y[i]), x.map((value, i) => s * value + c * y[i]), z];
  const [d, t] = [Math.cos(-dy * TURN), Math.sin(-dy * TURN)];
  const next = about.map(([right, up, back]) => [right, d * up + t * back, d * back - t * up]);
  return next[2][1] > 0.02 ? next : about;
}

// By steps to the right, up and forward, as the camera sees them.
export function moved(rotation, position, size, right, up, forward) {
  const step = STEP * size;
  return position.map((value, i) => value + step * (right * rotation[i][0] + up * rotation[i][1] - forward * rotation[i][2]));
}

// The diagonal of the box around the cameras.
export function roomSize(poses) {
  const extents = [3, 7, 11].map((place) => Math.max(...poses.map((one) => one[place])) - Math.min(...poses.map((one) => one[place])));
  return Math.max(0.05, Math.hypot(...extents));
}

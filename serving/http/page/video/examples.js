// Made-up example videos; their thumbnails are drawn here, so that nothing is fetched.
import { drawn } from "./pictures.js";

const WIDTH = 320;
const HEIGHT = 180;

export const EXAMPLES = [
  {
    name: "Taking off",
    fields: {
      title: "My cat learned to open the fridge!", description: "Nobody taught her. Watch the tail.",
      view_count: 820000, like_count: 96000, comment_count: 7400, duration_seconds: 32,
    },
    hoursAgo: 9,
    paint: cat,
  },
  {
    name: "Steady",
    fields: {
      title: "How do planes stay up?", description: "Lift, explained with two sheets of paper.",
      view_count: 210000, like_count: 18500, comment_count: 1900, duration_seconds: 312,
    },
    hoursAgo: 26,
    paint: plane,
  },
  {
    name: "Quiet",
    fields: {
      title: "10 Tips for Perfect Morning Routine", description: "Start your day right with these habits.",
      view_count: 15000, like_count: 1200, comment_count: 85, duration_seconds: 45,
    },
    hoursAgo: 20,
    paint: sunrise,
  },
  {
    name: "Few details",
    fields: { title: "Our first day in the new studio", view_count: 1900, like_count: 240, comment_count: 31 },
  },
];

/** Three versions of one video, to compare. */
export const VERSIONS = [
  { title: "My cat learned to open the fridge!", paint: cat },
  { title: "cat opens fridge", paint: cat },
  { title: "How did she do that?! 3 seconds, one fridge, zero shame", paint: sunrise },
];

/** A drawn thumbnail as a data: URL. */
export const painted = (paint) => drawn(WIDTH, HEIGHT, paint);

function sky(context, top, bottom) {
  const gradient = context.createLinearGradient(0, 0, 0, HEIGHT);
  gradient.addColorStop(0, top);
  gradient.addColorStop(1, bottom);
  context.fillStyle = gradient;
  context.fillRect(0, 0, WIDTH, HEIGHT);
}

function shape(context, colour, ...corners) {
  context.fillStyle = colour;
  context.beginPath();
  corners.forEach(([x, y]) => context.lineTo(x, y));
  context.fill();
}

function disc(context, colour, x, y, radiusX, radiusY = radiusX) {
  context.fillStyle = colour;
  context.beginPath();
  context.ellipse(x, y, radiusX, radiusY, 0, 0, 2 * Math.PI);
  context.fill();
}

function sunrise(context) {
  sky(context, "#3b3a7a", "#ffb26b");
  disc(context, "#ffe9a8", 210, 118, 42);
  shape(context, "#6b4a86", [0, 130], [70, 84], [140, 136], [230, 96], [320, 140], [320, 180], [0, 180]);
  shape(context, "#352a55", [0, 160], [110, 122], [210, 162], [320, 134], [320, 180], [0, 180]);
}

function plane(context) {
  sky(context, "#1f6fb8", "#bfe4f7");
  for (const [x, y, size] of [[60, 130, 30], [100, 136, 24], [250, 52, 22], [280, 58, 17]]) {
    disc(context, "#ffffffcc", x, y, size, size * 0.55);
  }
  shape(context, "#f4f6fa", [66, 96], [236, 74], [266, 82], [240, 94], [80, 112]);
  shape(context, "#c5cedd", [140, 92], [196, 84], [150, 152], [126, 152]);
  shape(context, "#e25545", [66, 96], [52, 58], [76, 60], [98, 94]);
}

function cat(context) {
  sky(context, "#17323a", "#2c6168");
  shape(context, "#e8edf0", [206, 14], [304, 14], [304, 180], [206, 180]);
  shape(context, "#fff3c4", [150, 26], [206, 14], [206, 180], [150, 168]);
  shape(context, "#f09a4a", [46, 70], [54, 26], [84, 56], [108, 56], [138, 26], [146, 70]);
  disc(context, "#f09a4a", 96, 92, 52, 46);
  disc(context, "#f09a4a", 96, 172, 66, 48);
  disc(context, "#fff", 76, 86, 13, 15);
  disc(context, "#fff", 116, 86, 13, 15);
  disc(context, "#1c1c22", 80, 88, 6, 11);
  disc(context, "#1c1c22", 120, 88, 6, 11);
  shape(context, "#d1495b", [90, 106], [102, 106], [96, 114]);
}

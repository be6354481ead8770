/** From a file to pixels: upright, what is transparent laid on white, whatever colour profile the file has ignored,
 * as `vitcam.images.open_image` does it. */
import { PageError } from "./errors.js";

/** As in Python: nobody takes larger photographs, but anyone can make a file that claims to be one. */
export const MAX_PIXELS = 89_478_485;
const MAX_BYTES = 200_000_000;

/**
 * @param {Blob} file
 * @param {string} name for error messages
 * @returns {Promise<ImageBitmap>}
 * @throws {PageError} it is no image, damaged or too large
 */
export async function openPhotograph(file, name) {
  if (file.size === 0) throw new PageError(`${name} is empty (0 bytes). Choose a photograph.`);
  if (file.type && !file.type.startsWith("image/")) {
    throw new PageError(`${name} isn't an image, it is ${file.type}. Choose a photograph: JPEG, PNG, WebP or AVIF.`);
  }
  if (file.type === "image/svg+xml") {
    throw new PageError(`${name} is a drawing (SVG). Choose a photograph: JPEG, PNG, WebP or AVIF.`);
  }
  if (file.size > MAX_BYTES) {
    throw new PageError(`${name} is too large: ${megabytes(file.size)} MB. At most ${megabytes(MAX_BYTES)} MB are read.`);
  }
  const { width, height } = await announcedSize(file, name);
  if (width * height > MAX_PIXELS) {
    throw new PageError(
      `${name} is too large: ${width}×${height} pixels. At most ${Math.round(MAX_PIXELS / 1e6)} megapixels are read; ` +
        "make it smaller first.",
    );
  }
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      colorSpaceConversion: "none",
      premultiplyAlpha: "premultiply",
    });
  } catch {
    throw new PageError(`${name} can't be decoded: it is damaged, or its pixels don't fit into memory.`);
  }
}

/** The size that the file's header tells: known before the pixels are unpacked. */
async function announcedSize(file, name) {
  const url = URL.createObjectURL(file);
  try {
    const image = new Image();
    image.src = url;
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
    });
    return { width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    throw new PageError(
      `${name} isn't an image that this browser can read, or it is damaged. Choose a photograph: JPEG, PNG, WebP or AVIF.`,
    );
  } finally {
    URL.revokeObjectURL(url);
  }
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);

/**
 * Draw a part of a photograph on white, stretched over the whole canvas.
 * @param {OffscreenCanvasRenderingContext2D | CanvasRenderingContext2D} context
 * @param {ImageBitmap} bitmap
 * @param {{left: number, top: number, width: number, height: number}} part may reach beyond the photograph
 */
export function drawOnWhite(context, bitmap, part) {
  const { width, height } = context.canvas;
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  const scaleX = width / part.width;
  const scaleY = height / part.height;
  context.drawImage(bitmap, -part.left * scaleX, -part.top * scaleY, bitmap.width * scaleX, bitmap.height * scaleY);
}

/** Reads rows of a bitmap as RGBA bytes, opaque. */
export function rowReader(bitmap) {
  const canvas = new OffscreenCanvas(1, 1);
  return (top, rows) => {
    canvas.width = bitmap.width;
    canvas.height = rows;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    drawOnWhite(context, bitmap, { left: 0, top, width: bitmap.width, height: rows });
    return context.getImageData(0, 0, bitmap.width, rows).data;
  };
}

// Recordings in the browser: from the microphone or a file of any format that the browser decodes, to 16-bit WAV.

const RATE = 16000;

/** Start recording -> a function that stops it and returns what was recorded as a Blob. */
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const parts = [];
  const recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve));
  recorder.start();
  return async () => {
    recorder.stop();
    await stopped;
    stream.getTracks().forEach((track) => track.stop());
    return new Blob(parts, { type: recorder.mimeType });
  };
}

/** A Blob of any format that the browser decodes -> a Blob of a WAV file: one channel, 16 kHz, 16 bits. */
export async function toWav(blob) {
  const context = new OfflineAudioContext(1, 1, 48000);
  const decoded = await context.decodeAudioData(await blob.arrayBuffer());
  const resampler = new OfflineAudioContext(1, Math.max(1, Math.ceil(decoded.duration * RATE)), RATE);
  const source = resampler.createBufferSource();
  source.buffer = decoded; // its channels are mixed down by the destination, which has one
  source.connect(resampler.destination);
  source.start();
  const samples = (await resampler.startRendering()).getChannelData(0);
  return new Blob([header(samples.length), toInt16(samples)], { type: "audio/wav" });
}

function toInt16(samples) {
  return Int16Array.from(samples, (value) => Math.max(-32768, Math.min(32767, Math.round(value * 32768))));
}

/** Number of samples -> the 44 bytes before them. */
function header(count) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (place, value) => [...value].forEach((c, i) => view.setUint8(place + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  return view;
}

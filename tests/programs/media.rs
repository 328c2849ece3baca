//! Sound and pictures that move.

use super::programs;

programs! {
    ffmpeg_with_faststart:
        r#"ffmpeg -v error -f lavfi -i testsrc=duration=2:size=160x120:rate=10 -movflags +faststart clip.mp4; ffmpeg -v error -f lavfi -i sine=duration=1 tone.wav; ffmpeg -v error -i clip.mp4 -vf fps=1 frame%d.png"#,
        leaves &["clip.mp4", "tone.wav", "frame1.png", "frame2.png"],
        proof r#"ffprobe -v error -show_entries format=duration -of csv=p=0 clip.mp4 | grep -q '^2'; python3 -c '
d = open("clip.mp4", "rb").read(); assert d.index(b"moov") < d.index(b"mdat"), "the index comes first"
import wave; assert wave.open("tone.wav").getnframes() == 44100'"#;
}

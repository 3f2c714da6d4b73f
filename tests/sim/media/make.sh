#!/bin/sh
# Makes every media file of the simulator anew from ffmpeg's own test sources; needs ffmpeg with libx264, drawtext and DejaVu.
set -eu
cd "$(dirname "$0")"

FONT=${FONT:-/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf}
SECONDS_LONG=60
FPS=25
FF="ffmpeg -hide_banner -loglevel error -y -nostdin -threads 1"
EXACT="-map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact"

# A test card with the running time and the frame number burnt in: size, label.
card() {
    printf '%s' "testsrc2=size=$1:rate=$FPS:duration=$SECONDS_LONG,boxblur=2:1,format=yuv420p,drawbox=y=ih*0.38:w=iw:h=ih*0.24:color=black@0.8:t=fill,drawtext=fontfile=$FONT:fontcolor=white:fontsize=h/9:x=(w-tw)/2:y=h*0.40:text='%{pts\\:hms}',drawtext=fontfile=$FONT:fontcolor=yellow:fontsize=h/14:x=(w-tw)/2:y=h*0.53:text='$2 frame %{n}'"
}

tone() { printf '%s' "sine=frequency=$1:beep_factor=4:sample_rate=44100:duration=$SECONDS_LONG"; }

AUDIO="-c:a aac -ac 1 -b:a 32k"
KEYS="-force_key_frames expr:gte(t,n_forced*10) -sc_threshold 0 -g 250"

rm -rf film.mp4 film.mkv LD SD HD subtitle poster.jpg qr.png
mkdir -p LD SD HD subtitle

# Subtitles: one line every five seconds.
subtitles() {
    awk -v long=$SECONDS_LONG -v text="$1" -v kind="$2" '
        function stamp(s) { return sprintf("00:%02d:%02d%s000", s / 60, s % 60, kind == "srt" ? "," : ".") }
        BEGIN {
            if (kind == "vtt") print "WEBVTT\n"
            for (s = 0; s < long; s += 5) printf "%d\n%s --> %s\n%s %d\n\n", s / 5 + 1, stamp(s), stamp(s + 4), text, s / 5 + 1
        }'
}
subtitles "第三方字幕 台词" vtt > subtitle/chi.vtt
subtitles "Subtitle line" vtt > subtitle/eng.vtt
CHI=$(mktemp --suffix=.srt)
ENG=$(mktemp --suffix=.srt)
trap 'rm -f "$CHI" "$ENG"' EXIT
subtitles "第三方字幕 台词" srt > "$CHI"
subtitles "Subtitle line" srt > "$ENG"

# The film: main profile, index at the end (no faststart).
$FF -f lavfi -i "$(card 640x360 film)" -f lavfi -i "$(tone 440)" \
    -c:v libx264 -profile:v main -preset slow -b:v 100k -maxrate 150k -bufsize 300k $KEYS $AUDIO $EXACT film.mp4

# The same streams in Matroska, with two text subtitle tracks.
$FF -i film.mp4 -i "$CHI" -i "$ENG" -map 0:v -map 0:a -map 1 -map 2 -c copy -c:s srt \
    -map_metadata -1 -fflags +bitexact -metadata:s:s:0 language=chi -metadata:s:s:1 language=eng -disposition:s:0 default film.mkv

# The renditions of the preview: ten-second MPEG-TS segments, each opening with a key frame.
rendition() {
    $FF -f lavfi -i "$(card "$2" "$1")" -f lavfi -i "$(tone "$4")" \
        -c:v libx264 -profile:v main -preset slow -b:v "$3" -maxrate "$3" -bufsize 300k $KEYS $AUDIO $EXACT \
        -f hls -hls_time 10 -hls_list_size 0 -hls_segment_filename "$1/media-%d.ts" "$1/media.m3u8"
}
rendition LD 640x360 70k 440
rendition SD 960x540 90k 550
rendition HD 1280x720 120k 660

rm -f LD/media.m3u8 SD/media.m3u8 HD/media.m3u8
$FF -f lavfi -i "$(card 320x180 poster)" -frames:v 1 -q:v 8 $EXACT poster.jpg
# Not a readable code, but a true PNG that looks like one.
$FF -f lavfi -i "life=size=29x29:ratio=0.5:seed=7:rate=1,scale=116:116:flags=neighbor,format=monob" -frames:v 1 $EXACT qr.png

du -ch film.* LD SD HD subtitle poster.jpg qr.png | tail -1

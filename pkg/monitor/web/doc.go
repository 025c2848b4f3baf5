// Package web is the monitor as a web page: what the terminal monitor shows, for
// a projector, a laptop or a phone.
//
// Handler serves the page and nothing else; it is to stand on the same address
// as the endpoint that feeds it. The page reads /v1/live, a stream of server-sent
// events, relative to its own address:
//
//	data: {"time":"2026-01-02T15:04:05.5Z","name":"demo","cards":[ ... ]}
//
// Each event's data is one metrics.Cluster in JSON, on one line, about two of
// them a second. Keys that the page does not know are ignored, lists and
// objects may be missing or null.
//
// What it promises:
//
//   - It only shows. It makes no request but GET, for its own files and the
//     stream.
//   - It is whole: no file comes from anywhere else, and the browser is told by
//     a Content-Security-Policy to ask nobody else for anything.
//   - What comes over the stream is text. It is never read as HTML; the policy
//     has the browser refuse it, too.
//   - What is old does not look new. When nothing came for 2 s, the page says
//     since when, turns grey, and tries again by itself until it succeeds. A card
//     that was green is not green then.
//   - Colour never carries a meaning alone: a word or a sign stands beside it.
//   - It is read on 400 pixels and on 1600, in light and in dark, with a keyboard
//     and with a screen reader, which is told of what went away or came back, and
//     not of every figure.
//
// The page is plain JavaScript and CSS, used as it stands in page/. There is no
// build step; the types are in comments and in page/types.d.ts, and are checked
// by scripts/e2e/web.sh, which also drives the page in a browser.
//
//	main.js     takes a picture, keeps the history, draws what there is
//	live.js     the stream, and its breaking
//	history.js  the last minute
//	chart.js    curves and bars, in SVG
//	dom.js      elements, made and brought up to date
//	format.js   numbers and times, as they are read
//	cards.js, gateway.js, stripe.js, lists.js, film.js
//	            one part of the page each
package web

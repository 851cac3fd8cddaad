// The plain Node loop: a set of sockets for each channel, one write for each message. No packages.
//
// GET /sse/{channel}, GET /ws/{channel}, POST /pub/{channel}.
'use strict';

const { createHash } = require('node:crypto');
const { createServer } = require('node:http');

const port = Number(process.argv[2]);
const sse = new Map();
const ws = new Map();

function join(channels, channel, socket) {
  if (!channels.has(channel)) channels.set(channel, new Set());
  const subscribers = channels.get(channel);
  subscribers.add(socket);
  socket.on('close', () => subscribers.delete(socket));
}

function frame(text) {
  const body = Buffer.from(text);
  if (body.length < 126) return Buffer.concat([Buffer.from([0x81, body.length]), body]);
  const head = Buffer.from([0x81, 126, 0, 0]);
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
}

function publish(channel, text) {
  const event = `data: ${text}\n\n`;
  for (const response of sse.get(channel) ?? []) response.write(event);
  const subscribers = ws.get(channel);
  if (subscribers) {
    const bytes = frame(text);
    for (const socket of subscribers) socket.write(bytes);
  }
}

const server = createServer((request, response) => {
  const [, route, channel] = request.url.split('/');
  if (route === 'sse') {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    response.flushHeaders();
    join(sse, channel, response);
    return;
  }
  let text = '';
  request.setEncoding('utf8');
  request.on('data', (part) => { text += part; });
  request.on('end', () => {
    publish(channel, text);
    response.writeHead(202, { 'Content-Length': 0 });
    response.end();
  });
});

server.on('upgrade', (request, socket) => {
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(key).digest('base64');
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.resume();
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  join(ws, request.url.split('/')[2], socket);
});

server.listen({ port, host: '127.0.0.1', backlog: 4096 });

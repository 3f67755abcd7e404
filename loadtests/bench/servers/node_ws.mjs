// Node with ws and ioredis: one subscriber for the process, the bytes of Redis sent on as they come.
import Redis from "ioredis";
import { WebSocketServer } from "ws";

const rooms = new Map();
const subscriber = new Redis(process.env.BENCH_REDIS);
subscriber.on("messageBuffer", (channel, message) => {
  for (const socket of rooms.get(channel.toString()) ?? []) socket.send(message, { binary: false });
});
const server = new WebSocketServer({ port: Number(process.argv[2]), host: "127.0.0.1", perMessageDeflate: false });
server.on("connection", (socket, request) => {
  const channel = `tok:${request.url.slice("/ws/".length)}`;
  const room = rooms.get(channel) ?? new Set();
  if (!rooms.has(channel)) {
    rooms.set(channel, room);
    subscriber.subscribe(channel);
  }
  room.add(socket);
  socket.on("close", () => room.delete(socket));
});

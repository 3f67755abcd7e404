// Socket.IO with its Redis adapter: a room per session.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import Redis from "ioredis";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  adapter: createAdapter(new Redis(process.env.BENCH_REDIS), new Redis(process.env.BENCH_REDIS)),
});
io.on("connection", (socket) => socket.join(socket.handshake.query.s));
http.listen(Number(process.argv[2]), "127.0.0.1");

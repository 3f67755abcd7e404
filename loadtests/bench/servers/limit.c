/* The limit: one thread, epoll, Redis Pub/Sub in, WebSocket frames out, nothing else. No server for anybody: it takes
 * any handshake for the one key of the bench, reads nothing from its clients, and drops one that is slow.
 *
 *     limit <port> <redis port>
 *
 * A client asks for /ws/<n>, 0 <= n < MAX_SESSIONS, and gets what is published on tok:<n>. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_SESSIONS = 16384, MAX_SOCKETS = 65536, BUFFER = 1 << 20, REQUEST = 4096 };

struct watcher { int fd; struct watcher *next; };
static struct watcher *rooms[MAX_SESSIONS];
static char subscribed[MAX_SESSIONS];
static char *requests[MAX_SOCKETS]; /* of sockets whose handshake is not whole */
static int redis_fd, loop_fd;
static char in[BUFFER];
static size_t held;

static void fail(const char *what) { perror(what); exit(1); }

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(loop_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static int tcp(int port, int server) {
    int fd = socket(AF_INET, SOCK_STREAM | (server ? SOCK_NONBLOCK : 0), 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (server) {
        if (bind(fd, (void *)&address, sizeof address) || listen(fd, 4096)) fail("listen");
    } else if (connect(fd, (void *)&address, sizeof address)) {
        fail("connect to Redis");
    }
    return fd;
}

static void leave(int fd) {
    for (int i = 0; i < MAX_SESSIONS; i++)
        for (struct watcher **at = &rooms[i]; *at;) {
            struct watcher *w = *at;
            if (w->fd == fd) { *at = w->next; free(w); } else at = &w->next;
        }
    close(fd);
}

/* Everybody who watches the session gets the payload as one text frame, made once. */
static void show(int session, const char *payload, size_t size) {
    static unsigned char frame[BUFFER];
    size_t head = 2;
    frame[0] = 0x81;
    if (size < 126) {
        frame[1] = size;
    } else {
        frame[1] = 126; frame[2] = size >> 8; frame[3] = size & 255; head = 4;
    }
    memcpy(frame + head, payload, size);
    for (struct watcher *w = rooms[session], *next; w; w = next) {
        next = w->next;
        if (send(w->fd, frame, head + size, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)(head + size)) leave(w->fd);
    }
}

/* A bulk string at `at`: its start and size; 0 when it is not whole yet. */
static char *bulk(char *at, char *end, char **start, size_t *size) {
    char *line = memchr(at, '\n', end - at);
    if (!line || *at != '$') return 0;
    *size = strtoul(at + 1, 0, 10);
    *start = line + 1;
    return *start + *size + 2 <= end ? *start + *size + 2 : 0;
}

/* Arrays of three: "message", channel, payload; those of "subscribe" end with a number. */
static void from_redis(void) {
    ssize_t got = read(redis_fd, in + held, BUFFER - held);
    if (got <= 0) fail("Redis is gone");
    held += got;
    char *at = in, *end = in + held;
    while (at < end) {
        char *line = memchr(at, '\n', end - at), *kind, *channel, *payload, *next;
        size_t kind_size, channel_size, size;
        if (!line || !(next = bulk(line + 1, end, &kind, &kind_size))) break;
        if (next >= end || !(next = bulk(next, end, &channel, &channel_size))) break;
        if (kind[0] == 's') {
            if (!(line = memchr(next, '\n', end - next))) break;
            at = line + 1;
            continue;
        }
        if (next >= end || !(next = bulk(next, end, &payload, &size))) break;
        show(atoi(channel + 4), payload, size);
        at = next;
    }
    held = end - at;
    memmove(in, at, held);
}

static void enter(int fd, const char *request) {
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    int session = atoi(request + strlen("GET /ws/"));
    if (session < 0 || session >= MAX_SESSIONS) { close(fd); return; }
    struct watcher *w = malloc(sizeof *w);
    *w = (struct watcher){fd, rooms[session]};
    rooms[session] = w;
    if (!subscribed[session]) {
        char command[64];
        int size = snprintf(command, sizeof command, "SUBSCRIBE tok:%d\r\n", session);
        if (write(redis_fd, command, size) != size) fail("subscribe");
        subscribed[session] = 1;
    }
    if (write(fd, answer, sizeof answer - 1) < 0) leave(fd);
}

static void from_client(int fd) {
    char bytes[REQUEST];
    ssize_t got = read(fd, bytes, sizeof bytes - 1);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        free(requests[fd]);
        requests[fd] = 0;
        leave(fd);
        return;
    }
    if (!requests[fd]) return; /* pongs, goodbyes */
    bytes[got] = 0;
    strncat(requests[fd], bytes, REQUEST - strlen(requests[fd]) - 1);
    if (strstr(requests[fd], "\r\n\r\n")) {
        enter(fd, requests[fd]);
        free(requests[fd]);
        requests[fd] = 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "limit <port> <redis port>\n"); return 2; }
    loop_fd = epoll_create1(0);
    int server = tcp(atoi(argv[1]), 1);
    redis_fd = tcp(atoi(argv[2]), 0);
    watch(server);
    watch(redis_fd);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(loop_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == redis_fd) {
                from_redis();
            } else if (fd == server) {
                int client, one = 1;
                while ((client = accept4(server, 0, 0, SOCK_NONBLOCK)) >= 0) {
                    if (client >= MAX_SOCKETS) { close(client); continue; }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    requests[client] = calloc(1, REQUEST);
                    watch(client);
                }
            } else {
                from_client(fd);
            }
        }
    }
}

/*
 * lhttp.h - a publish/subscribe server for LHTTP, and its client, inside of a C program.
 *
 *     lhttp_config config;
 *     lhttp_server *server;
 *
 *     lhttp_config_init(&config, sizeof config);
 *     lhttp_config_set(&config, "listen", "127.0.0.1:8081");
 *     if (lhttp_start(&config, &server) != LHTTP_OK)
 *         fprintf(stderr, "%s\n", lhttp_last_error());
 *     lhttp_config_release(&config);
 *     ...
 *     lhttp_publish(server, "room", "chat", NULL, "hello", 5);
 *     lhttp_stop(server, 5000);
 *
 * Compile with `pkg-config --cflags --libs lhttp`.
 *
 * What holds for all of it
 *
 *   Threads     Every function may be called from any thread, unless it takes an lhttp_context, which belongs to the
 *               thread of its callback.
 *   Texts       are UTF-8 and end with a NUL. What a function is given it has copied when it returns.
 *   Handles     (the types without a definition here) are numbers in the shape of pointers: nothing can be read through
 *               one. A handle that was closed, or that never was one, is a status; it is never followed.
 *   Mistakes    NULL or a misaligned pointer where something must be, a text that is not UTF-8, a handle that is closed,
 *               a call at the wrong time: a status, and a sentence from lhttp_last_error(). What no library can check
 *               is yours: a pointer must point to what its type says, with the length that you give.
 *   Callbacks   must return: no longjmp and no C++ exception may leave them.
 *   Memory      If there is none left, the process ends (abort).
 *   fork        A child process that does not exec at once has none of the threads: it must not call anything here.
 */
#ifndef LHTTP_H
#define LHTTP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header; lhttp_version() says the library's. Before 1.0.0, what was compiled against 0.x runs with
 * every later 0.x.y, and the library's SONAME is liblhttp.so.0.x. */
#define LHTTP_VERSION "0.1.0"

/* ------------------------------------------------------------------------------------------------------------------ */
/* What calls give back                                                                                               */
/* ------------------------------------------------------------------------------------------------------------------ */

/* LHTTP_OK, or why nothing has happened. Later versions may have more of them. */
typedef int lhttp_status;

enum {
    LHTTP_OK = 0,
    LHTTP_ERROR_ARGUMENT = 1,  /* NULL, misaligned, not UTF-8, or not a handle of this kind */
    LHTTP_ERROR_OPTION = 2,    /* an option has no meaning, or contradicts another */
    LHTTP_ERROR_LISTEN = 3,    /* an address cannot be listened on: busy, not this machine's, or not allowed */
    LHTTP_ERROR_SYSTEM = 4,    /* the system refused a thread, a file descriptor or the like */
    LHTTP_ERROR_REFUSED = 5,   /* a channel, command, header or size is not valid */
    LHTTP_ERROR_FULL = 6,      /* the server is behind: try again later */
    LHTTP_ERROR_CLOSED = 7,    /* what the handle stands for was stopped, released or closed before */
    LHTTP_ERROR_CALLBACK = 8,  /* it cannot be called inside of a callback, or outside of its own */
    LHTTP_ERROR_NOT_FOUND = 9, /* there is no such header or part */
    LHTTP_ERROR_PANIC = 10     /* a bug in lhttp; whether it happened is not known, the process can go on */
};

/* What a status means in general: a text that is always there. */
const char *lhttp_strerror(lhttp_status status);

/* Why the last call on this thread that failed has failed: one sentence, in the library until the next call on this
 * thread that fails. "" if none has. */
const char *lhttp_last_error(void);

/* The version of the library, such as "0.1.0": a text that is always there. */
const char *lhttp_version(void);

/* ------------------------------------------------------------------------------------------------------------------ */
/* The log                                                                                                            */
/* ------------------------------------------------------------------------------------------------------------------ */

enum {
    LHTTP_LOG_OFF = 0,
    LHTTP_LOG_ERROR = 1,
    LHTTP_LOG_WARN = 2,
    LHTTP_LOG_INFO = 3,
    LHTTP_LOG_DEBUG = 4,
    LHTTP_LOG_TRACE = 5
};

/* Gets one line of the log, without a newline; `target` is the module that it comes from. Both texts are there until it
 * returns. It is called on the threads of servers and on those that call lhttp, by one at a time. The server waits for
 * it, so it should be quick. What it causes to be logged itself is not. */
typedef void (*lhttp_log_callback)(int level, const char *target, const char *line, void *user);

/* Sends the log of this process, of all servers and clients, to `callback`, as far as it is at least as serious as
 * `level`; NULL sends it nowhere, which is how it begins. When this returns, the callback of before is not running any
 * more, and will not be called again. LHTTP_ERROR_CALLBACK inside of the callback itself. */
lhttp_status lhttp_log(int level, lhttp_log_callback callback, void *user);

/* ------------------------------------------------------------------------------------------------------------------ */
/* The configuration of a server                                                                                      */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_options lhttp_options;
typedef struct lhttp_context lhttp_context;

/* Is called with what has happened, and with the pointer that was given beside it. */
typedef void (*lhttp_callback)(lhttp_context *context, void *user);

/* Made by lhttp_config_init. It is yours: copy it, keep it, and release it once.
 *
 * `size` is what lets old programs run with new libraries: a library reads and writes as many bytes of it as the program
 * knew of, and takes what is missing for 0. A program that sets a field which an older library does not know gets
 * LHTTP_ERROR_OPTION from it; as long as it leaves the new fields 0, that works, too. */
typedef struct lhttp_config {
    size_t size;            /* set by lhttp_config_init */
    lhttp_options *options; /* set by lhttp_config_init: what the functions below put in */
    lhttp_callback on_raw;  /* for WebSocket messages that are not LHTTP; NULL: their sender gets error 400 */
    void *raw_user;         /* for on_raw */
} lhttp_config;

/* Fills `config` with the defaults. `size` is sizeof(lhttp_config) in your program. */
lhttp_status lhttp_config_init(lhttp_config *config, size_t size);

/* Sets an option by the name that it has in the configuration file of lhttpd, to a text such as its flag takes: "listen"
 * to "127.0.0.1:8081" (several are separated by commas), "cores" to "2", "max-message" to "16KiB", "idle-timeout" to
 * "2m". `lhttpd --help` and the README list them; all of them but "demo" are here. "log" sets the level of lhttp_log
 * for the whole process when a server starts with it.
 *
 * LHTTP_ERROR_OPTION if there is no such option or the value is none of its; nothing has changed then. Whether options
 * fit each other, lhttp_start says. */
lhttp_status lhttp_config_set(lhttp_config *config, const char *name, const char *value);

/* Frees what the library keeps for `config`. Servers that were started with it go on. */
lhttp_status lhttp_config_release(lhttp_config *config);

/* ------------------------------------------------------------------------------------------------------------------ */
/* A server                                                                                                           */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_server lhttp_server;

/* One header of a message. An array of them ends with one whose name is NULL. */
typedef struct lhttp_header {
    const char *name;
    const char *value;
} lhttp_header;

/* Starts a server, and returns when it listens. It runs on threads of its own, one for each core, which take no signals:
 * they stay yours. A process may have several servers.
 *
 * `*server` is the handle to it, until lhttp_stop. The configuration is copied: release it, or start the next server with
 * it. Call it from a thread that is not pinned to a CPU: the server shares the CPUs that the calling thread may use.
 *
 * LHTTP_ERROR_OPTION, LHTTP_ERROR_LISTEN, LHTTP_ERROR_SYSTEM; `*server` is as it was then. */
lhttp_status lhttp_start(const lhttp_config *config, lhttp_server **server);

/* The port of the first address that the server listens on, which is of interest if "listen" said port 0. 0 if `server`
 * is not running. */
uint16_t lhttp_local_port(const lhttp_server *server);

/* Publishes one message, from any thread: its subscribers get `command`, a `publish` header with `channels`, which are
 * separated by spaces, then `headers` (may be NULL), and `len` bytes of `body` (may be NULL if there are none). It goes as
 * text if it is UTF-8, else as binary. Never waits. What one thread publishes to a channel arrives in that order.
 *
 * LHTTP_ERROR_REFUSED if a channel, the command, a header or the size is not valid; LHTTP_ERROR_FULL if the server is
 * behind: try again later; LHTTP_ERROR_CLOSED if it has stopped. What a server takes while it stops may reach nobody. */
lhttp_status lhttp_publish(lhttp_server *server, const char *channels, const char *command,
                           const lhttp_header *headers, const void *body, size_t len);

/* Stops the server, and returns when it has: it takes no more connections, every client is told, and what waits is sent
 * for at most `drain_ms` milliseconds. No callback of it runs afterwards, and none will; what they use can be freed then.
 *
 * LHTTP_ERROR_CLOSED the second time, and from all but one of the threads that stop it at once. LHTTP_ERROR_CALLBACK
 * inside of a callback: let another thread stop it. */
lhttp_status lhttp_stop(lhttp_server *server, uint32_t drain_ms);

#ifdef __cplusplus
}
#endif

#endif /* LHTTP_H */

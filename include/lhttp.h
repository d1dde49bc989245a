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
 *   Mistakes    NULL or a misaligned pointer where something must be, a text that is not UTF-8, a handle that is
 *               closed, a call at the wrong time: a status, and a sentence from lhttp_last_error(). What no library can
 *               check is yours: a pointer must point to what its type says, with the length that you give.
 *   Callbacks   must return: no longjmp and no C++ exception may leave them.
 *   Memory      If there is none left, the process ends (abort).
 *   Cancel      A thread that is in here must not be cancelled (pthread_cancel): that ends the process (abort). To end
 *               another thread's poll, close the client.
 *   fork        A child process has none of the threads. If it was forked behind the first call here, everything gives
 *               LHTTP_ERROR_FORKED in it, or NULL or 0, at once, and nothing happens in the child nor in the parent. Only
 *               lhttp_version, lhttp_strerror and lhttp_last_* work there, and do not count as a call. One that is to
 *               have a server or client of its own is forked before, or execs. Until it ends or execs, it keeps the
 *               sockets of the parent open. Forked inside of a callback, it must not return from it: that ends it
 *               (abort). What the system does not tell of (vfork, clone) is not noticed.
 *   dlclose     Not while a server runs, nor a thread that has called anything here.
 */
#ifndef LHTTP_H
#define LHTTP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header; lhttp_version() says the library's. Before 1.0.0, what was compiled against 0.x runs
 * with every later 0.x.y, and the library's SONAME is liblhttp.so.0.x. */
#define LHTTP_VERSION "0.1.0"

/* ------------------------------------------------------------------------------------------------------------------ */
/* What calls give back                                                                                               */
/* ------------------------------------------------------------------------------------------------------------------ */

/* LHTTP_OK, or why nothing has happened. Later versions may have more of them. */
typedef int lhttp_status;

enum {
    LHTTP_OK = 0,
    LHTTP_ERROR_ARGUMENT = 1,  /* NULL, misaligned, not UTF-8, or not a handle of this kind */
    LHTTP_ERROR_OPTION = 2,    /* an option or a URL has no meaning, or contradicts another */
    LHTTP_ERROR_LISTEN = 3,    /* an address cannot be listened on: busy, not this machine's, or not allowed */
    LHTTP_ERROR_SYSTEM = 4,    /* the system refused a thread, a file descriptor or the like */
    LHTTP_ERROR_REFUSED = 5,   /* a channel, command, header or size is not valid, or the server has refused it */
    LHTTP_ERROR_FULL = 6,      /* the server, or the way to it, is behind: try again later */
    LHTTP_ERROR_CLOSED = 7,    /* what the handle stands for was stopped, released or closed before */
    LHTTP_ERROR_CALLBACK = 8,  /* it cannot be called inside of a callback, or outside of its own */
    LHTTP_ERROR_NOT_FOUND = 9, /* there is no such header or part */
    LHTTP_ERROR_PANIC = 10,    /* a bug in lhttp; whether it happened is not known, the process can go on */

    /* of clients */
    LHTTP_ERROR_NOT_CONNECTED = 11, /* there was no connection; nothing was sent */
    LHTTP_ERROR_LOST = 12,          /* the connection ended before the answer; whether it happened is not known */
    LHTTP_ERROR_TIMED_OUT = 13,     /* no answer came in time; whether it happened is not known */
    LHTTP_ERROR_INBOX_FULL = 14,    /* poll first; nothing that came was lost */
    LHTTP_NOTHING = 15,             /* a poll without an event: no error */

    LHTTP_ERROR_FORKED = 16 /* this is a child process that was forked: see fork, above */
};

/* What a status means in general: a text that is always there. */
const char *lhttp_strerror(lhttp_status status);

/* Why the last call on this thread that failed has failed: one sentence, in the library until the next call on this
 * thread that fails. "" if none has. */
const char *lhttp_last_error(void);

/* If that was LHTTP_ERROR_REFUSED: the code of the refusal, after HTTP's classes, such as 403, and its word for
 * programs, such as "forbidden" or "bad-channel", there as long as lhttp_last_error's. 0 and "" if it was something
 * else. */
uint16_t lhttp_last_code(void);
const char *lhttp_last_reason(void);

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

/* Gets one line of the log, without a newline; `target` is the module that it comes from. What clients and other nodes
 * have named is escaped in it. Both texts are there until it returns. It is called on the threads of servers and on
 * those that call lhttp, by one at a time.
 *
 * It must not block: the core that has something to say waits for it, with all of its connections, and so do other
 * threads that have. A write to a pipe or a terminal blocks while nobody reads. Put the line into a queue and drop what
 * does not fit. What it causes to be logged itself is not. */
typedef void (*lhttp_log_callback)(int level, const char *target, const char *line, void *user);

/* Sends the log of this process, of all servers and clients, to `callback`, as far as it is at least as serious as
 * `level`; NULL sends it nowhere, which is how it begins. When this returns, the callback of before is not running
 * any more, and will not be called again.
 *
 * LHTTP_ERROR_ARGUMENT if there is no such level; LHTTP_ERROR_CALLBACK inside of the callback itself;
 * LHTTP_ERROR_SYSTEM if the program has set a logger of Rust's crate log, which gets the lines. */
lhttp_status lhttp_log(int level, lhttp_log_callback callback, void *user);

/* ------------------------------------------------------------------------------------------------------------------ */
/* The configuration of a server                                                                                      */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_options lhttp_options;
typedef struct lhttp_context lhttp_context;

/* What has happened is in the context, which is there until the function returns; `user` is the pointer that was
 * given beside the function. It is called on the threads of the server, on several at once if the server has
 * several cores, so what `user` points to needs a lock or atomics, and must be there until lhttp_stop has returned.
 * It must not block: all other connections of that core wait for it. Slow work goes to another thread, with an
 * lhttp_replier. */
typedef void (*lhttp_callback)(lhttp_context *context, void *user);

/* Made by lhttp_config_init. It is yours: copy it, keep it, and release it once.
 *
 * `size` is what lets old programs run with new libraries: a library reads and writes as many bytes of it as the
 * program knew of, and takes what is missing for 0. A program that sets a field which an older library does not
 * know gets LHTTP_ERROR_OPTION from it; as long as it leaves the new fields 0, that works, too. */
typedef struct lhttp_config {
    size_t size;            /* set by lhttp_config_init */
    lhttp_options *options; /* set by lhttp_config_init: what the functions below put in */
    lhttp_callback on_raw;  /* for WebSocket messages that are not LHTTP; NULL: their sender gets error 400 */
    void *raw_user;         /* for on_raw */
} lhttp_config;

/* Fills `config` with the defaults. `size` is sizeof(lhttp_config) in your program. */
lhttp_status lhttp_config_init(lhttp_config *config, size_t size);

/* Sets an option by the name that it has in the configuration file of lhttpd, to a text such as its flag takes:
 * "listen" to "127.0.0.1:8081" or "unix:/path" (several are separated by commas), "cores" to "2", "max-message" to "16KiB",
 * "idle-timeout" to "2m". The name in a section, "timeouts.idle", is the same. docs/OPTIONS.md has all of them; those of
 * lhttpd alone are not here, but for "log", which sets the level of lhttp_log for the whole process when a server starts
 * with it. The rules for channels cannot be set.
 *
 * LHTTP_ERROR_OPTION if there is no such option or the value is none of its; nothing has changed then. Whether
 * options fit each other, lhttp_start says. */
lhttp_status lhttp_config_set(lhttp_config *config, const char *name, const char *value);

/* What messages with one command mean. Functions that are NULL do nothing. `size` is sizeof(lhttp_processor) in
 * your program, as in lhttp_config:
 *
 *     lhttp_processor echo = {.size = sizeof echo, .on_message = on_echo};
 *
 * What is sent, published and subscribed in a callback takes effect when it has returned and the message has been
 * found sound. */
typedef struct lhttp_processor {
    size_t size;
    lhttp_callback on_open;    /* a connection uses this command for the first time; on_message follows */
    lhttp_callback on_message; /* a message with this command has come */
    lhttp_callback on_close;   /* such a connection has ended; there is no message, and no answer */
    void *user;                /* for all of them */
} lhttp_processor;

/* Handles the messages with this command, which compares exactly; a second processor for it takes the place of the
 * first. The struct is copied. LHTTP_ERROR_REFUSED if no message can have this command. */
lhttp_status lhttp_config_processor(lhttp_config *config, const char *command, const lhttp_processor *processor);

/* Sees every connection, and every LHTTP message whatever its command, but not what is published with lhttp_publish
 * or POST /publish. Functions that are NULL let everything pass; one that calls lhttp_refuse does not. */
typedef struct lhttp_filter {
    size_t size;                   /* sizeof(lhttp_filter) in your program */
    lhttp_callback on_open;        /* a connection has opened; refused, it is closed with 1008 */
    lhttp_callback before_request; /* a message has come; refused, nothing of it happens */
    lhttp_callback after_request;  /* a message has been carried out; it is too late to refuse it */
    lhttp_callback on_close;       /* a connection has ended; there is no message, and no answer */
    void *user;                    /* for all of them */
} lhttp_filter;

/* Adds a filter behind those that were added before. The struct is copied.
 *
 * A server with filters refuses POST /publish with 403, because that passes none of them, unless "publish-key" is set or
 * lhttp_config_publish_past_filters was called. */
lhttp_status lhttp_config_filter(lhttp_config *config, const lhttp_filter *filter);

/* Lets everyone who reaches the port publish with POST /publish, although the server has filters and no publish key. */
lhttp_status lhttp_config_publish_past_filters(lhttp_config *config);

/* Frees what the library keeps for `config`. Servers that were started with it go on. */
lhttp_status lhttp_config_release(lhttp_config *config);

/* One header of a message. An array of them ends with one whose name is NULL. */
typedef struct lhttp_header {
    const char *name;
    const char *value;
} lhttp_header;

/* ------------------------------------------------------------------------------------------------------------------ */
/* A server                                                                                                           */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_server lhttp_server;

/* Starts a server, and returns when it listens. It runs on threads of its own, one for each core, which take no
 * signals: they stay yours. A process may have several servers.
 *
 * `*server` is the handle to it, until lhttp_stop. The configuration is copied: release it, or start the next
 * server with it. Call it from a thread that is not pinned to a CPU: the server shares the CPUs that the calling
 * thread may use.
 *
 * It takes as many connections as the soft limit of open files allows, unless "max-connections" says less: raise
 * that before (setrlimit) if it is low, for the library does not touch it.
 *
 * LHTTP_ERROR_OPTION, LHTTP_ERROR_LISTEN, LHTTP_ERROR_SYSTEM; `*server` is as it was then. */
lhttp_status lhttp_start(const lhttp_config *config, lhttp_server **server);

/* The port of the first address that the server listens on, which is of interest if "listen" said port 0. 0 if
 * `server` is not running, or that is a unix socket. */
uint16_t lhttp_local_port(const lhttp_server *server);

/* Publishes one message, from any thread: its subscribers get `command`, a `publish` header with `channels`, which
 * are separated by spaces and count once each, then `headers` (may be NULL), and `len` bytes of `body` (may be NULL if
 * there are none). Channels that begin with "$" or "_" are allowed, which clients may not name. It goes as text if it is UTF-8, else as binary. Never waits. What one thread publishes to a channel arrives in
 * that order.
 *
 * LHTTP_ERROR_REFUSED if a channel, the command, a header or the size is not valid, or there are more channels than
 * the option "max-publish-channels" allows; LHTTP_ERROR_FULL if the server is behind: try again later;
 * LHTTP_ERROR_CLOSED if it has stopped. What a server takes while it stops may reach nobody. */
lhttp_status lhttp_publish(lhttp_server *server, const char *channels, const char *command,
                           const lhttp_header *headers, const void *body, size_t len);

/* Stops the server, and returns when it has: it takes no more connections, every client is told, and what waits is
 * sent for at most `drain_ms` milliseconds. No callback of it runs afterwards, and none will; what they use can be
 * freed then.
 *
 * LHTTP_ERROR_CLOSED the second time, and from all but one of the threads that stop it at once.
 * LHTTP_ERROR_CALLBACK inside of a callback: let another thread stop it. */
lhttp_status lhttp_stop(lhttp_server *server, uint32_t drain_ms);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Inside a callback: what has happened                                                                               */
/* ------------------------------------------------------------------------------------------------------------------ */

/* A context is good on the thread of its callback until that returns; afterwards, and on other threads, each of
 * these gives NULL or 0, or LHTTP_ERROR_CALLBACK. So it does in a callback that is called in the middle of one of
 * them: that of the log, and the release callback of lhttp_context_set_user.
 *
 * Texts that these give end with a NUL and are there until the callback returns. Bodies are not copied: they are
 * there until the callback returns or changes the message, whichever is first. */

/* The command; "" if there is no LHTTP message. */
const char *lhttp_context_command(const lhttp_context *context);

/* The value of the first header of this name, in any case, without the blanks around it; NULL if there is none. */
const char *lhttp_context_header(const lhttp_context *context, const char *name);

/* Header number `index`, from 0, in their order. LHTTP_ERROR_NOT_FOUND behind the last. */
lhttp_status lhttp_context_header_at(const lhttp_context *context, size_t index, const char **name,
                                     const char **value);

/* The body, `*len` bytes; of a message that is not LHTTP, all of it. Never NULL, unless the context is not good. */
const void *lhttp_context_body(const lhttp_context *context, size_t *len);

/* 1 if the message came as text, then all of it is UTF-8; 0 if as binary. */
int lhttp_context_is_text(const lhttp_context *context);

/* How many parts the body has (a header `multipart` cuts it at its offsets). */
size_t lhttp_context_part_count(const lhttp_context *context);

/* The same for part `number`, from 0. NULL, and LHTTP_ERROR_NOT_FOUND, if there is no such part. */
const char *lhttp_context_part_header(const lhttp_context *context, size_t number, const char *name);
lhttp_status lhttp_context_part_header_at(const lhttp_context *context, size_t number, size_t index,
                                          const char **name, const char **value);
const void *lhttp_context_part_body(const lhttp_context *context, size_t number, size_t *len);

/* A name for the connection, which no other connection of this server has while it runs. */
const char *lhttp_context_connection(const lhttp_context *context);

/* The address of the other end, such as "127.0.0.1:40302"; "unix" on a unix socket, whose clients have none. */
const char *lhttp_context_peer(const lhttp_context *context);

/* What the WebSocket handshake asked for: its path; its query without the '?', not decoded, NULL if there is none;
 * and the first of its headers with this name, in any case, NULL if there is none. */
const char *lhttp_context_path(const lhttp_context *context);
const char *lhttp_context_query(const lhttp_context *context);
const char *lhttp_context_handshake_header(const lhttp_context *context, const char *name);

/* Is called with a value that is not needed any more. */
typedef void (*lhttp_release_callback)(void *value);

/* Keeps a value with the connection, in place of the one that was there, for all processors and filters. `release`
 * (may be NULL) is called with it once: when another takes its place, or behind the connection's last on_close. */
lhttp_status lhttp_context_set_user(lhttp_context *context, void *value, lhttp_release_callback release);

/* The value kept with the connection; NULL if there is none. */
void *lhttp_context_user(const lhttp_context *context);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Inside a callback: what can be done                                                                                */
/* ------------------------------------------------------------------------------------------------------------------ */

/* Answers with the command and headers of the message, as they are now, and this body. An answer to a message that
 * is not LHTTP is the body alone. */
lhttp_status lhttp_send(lhttp_context *context, const void *body, size_t len);

/* Answers with a message of its own; `headers` and `body` as for lhttp_publish. LHTTP_ERROR_REFUSED if it is not
 * valid. */
lhttp_status lhttp_reply(lhttp_context *context, const char *command, const lhttp_header *headers, const void *body,
                         size_t len);

/* Subscribes the connection to a channel or pattern, or ends that; it may begin with "$" or "_", which no client's
 * may. LHTTP_ERROR_REFUSED if it is neither, or one more than the connection may have. */
lhttp_status lhttp_subscribe(lhttp_context *context, const char *channel);
lhttp_status lhttp_unsubscribe(lhttp_context *context, const char *channel);

/* Publishes as lhttp_publish does, but not if the message is refused. */
lhttp_status lhttp_context_publish(lhttp_context *context, const char *channels, const char *command,
                                   const lhttp_header *headers, const void *body, size_t len);

/* Refuses the message, in processors and filters: its sender gets an error with this code (after HTTP's classes,
 * such as 403), this reason (one word for programs) and this sentence (for people), and nothing of the message
 * happens, nor anything that the callback has asked for. Where nothing is left to refuse it has no effect. */
lhttp_status lhttp_refuse(lhttp_context *context, uint16_t code, const char *reason, const char *sentence);

/* Closes the connection with a code of RFC 6455, such as 1000, and a reason (may be NULL) of at most 123 bytes.
 * What was sent before arrives before. A code that must not be sent becomes 1000. */
lhttp_status lhttp_close(lhttp_context *context, uint16_t code, const char *reason);

/* Change the message: what is forwarded to subscribers, and what lhttp_send answers with. A control header (such as
 * `publish`) that is added or removed counts as the client's own. lhttp_set_header replaces all headers of its
 * name; lhttp_remove_header gives 1 if there was one, else 0. LHTTP_ERROR_REFUSED if there is no LHTTP message, or
 * if it would not be valid. */
lhttp_status lhttp_set_command(lhttp_context *context, const char *command);
lhttp_status lhttp_add_header(lhttp_context *context, const char *name, const char *value);
lhttp_status lhttp_set_header(lhttp_context *context, const char *name, const char *value);
int lhttp_remove_header(lhttp_context *context, const char *name);
lhttp_status lhttp_set_body(lhttp_context *context, const void *body, size_t len);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Answers from other threads, later                                                                                  */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_replier lhttp_replier;

/* A handle that answers this connection later, from any thread and as often as needed, until it is released. It
 * keeps the message's command and headers. NULL if the context is not good. */
lhttp_replier *lhttp_context_replier(lhttp_context *context);

/* As lhttp_send, lhttp_reply and lhttp_close, at once. Messages to a connection that has ended by then are dropped
 * without an error. LHTTP_ERROR_FULL if the server is behind: try again later. LHTTP_ERROR_CLOSED if the server has
 * stopped, or the replier was released. */
lhttp_status lhttp_replier_send(lhttp_replier *replier, const void *body, size_t len);
lhttp_status lhttp_replier_reply(lhttp_replier *replier, const char *command, const lhttp_header *headers,
                                 const void *body, size_t len);
lhttp_status lhttp_replier_close(lhttp_replier *replier, uint16_t code, const char *reason);

/* Frees it; the connection goes on. A replier that is never released is memory that is never freed. */
lhttp_status lhttp_replier_release(lhttp_replier *replier);

/* ------------------------------------------------------------------------------------------------------------------ */
/* A client                                                                                                           */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_client lhttp_client;
typedef struct lhttp_event lhttp_event;

/* For a number of milliseconds: without an end. */
#define LHTTP_NEVER UINT32_MAX

/* The options of a client. A field that is 0 has its default, and so has all of them if there is no struct:
 *
 *     lhttp_client_config config = {.size = sizeof config, .timeout_ms = 2000};
 *
 * It is yours, and is only read by lhttp_client_connect. `size` as in lhttp_config. */
typedef struct lhttp_client_config {
    size_t size;                     /* sizeof(lhttp_client_config) in your program */
    const char *ca_file;             /* for wss://: trusts this PEM file alone; NULL: what the system trusts */
    const lhttp_header *headers;     /* more headers for the handshake, such as authorization; may be NULL */
    size_t message_bytes_max;        /* 16 MiB: a longer message ends the connection with 1009 */
    size_t inbox_messages_max;       /* 10,000 events may wait to be polled; see LHTTP_ERROR_INBOX_FULL */
    size_t inbox_bytes_max;          /* 16 MiB of them */
    size_t outbox_bytes_max;         /* 1 MiB may wait to be sent, and no message may be longer; see LHTTP_ERROR_FULL */
    uint32_t connect_timeout_ms;     /* 10,000: of one attempt; resolving the host's name takes what it takes */
    uint32_t timeout_ms;             /* 10,000: how long a call waits for its answer, reconnecting included */
    uint32_t reconnect_delay_min_ms; /* 250: before the first attempt at most so long; LHTTP_NEVER: no reconnecting */
    uint32_t reconnect_delay_max_ms; /* 30,000: it doubles with each further attempt, up to this */
    uint32_t ping_interval_ms;       /* 20,000: after so long a silence the server is pinged; LHTTP_NEVER: it is not */
    uint32_t pong_timeout_ms;        /* 10,000: silent for so long after a ping, the connection is given up */
} lhttp_client_config;

/* Connects to "ws://HOST[:PORT][/PATH]" or "wss://...", and returns when that is done. `config` may be NULL.
 *
 * `*client` is the handle, until lhttp_client_close. From then on the client reconnects by itself, with random, growing
 * pauses, and renews its subscriptions; what was published in between is missed. It has no thread of its own and does
 * all of that inside of the calls below: poll it, or the server will take it for dead (lhttpd after 60 s).
 *
 * Several threads may use one client, one at a time, in the order in which they come. A call that comes while another
 * thread polls does not wait for that: the poll makes way, and then goes on. (An attempt to connect is not cut short.)
 * A poll waits behind other calls, and other polls, at most for its own timeout.
 *
 * None of these can be called inside of a callback, of a server or of the log: LHTTP_ERROR_CALLBACK.
 *
 * LHTTP_ERROR_OPTION if the URL, a header or the CA file is of no use, and for wss:// in a library without TLS;
 * LHTTP_ERROR_NOT_CONNECTED if the server cannot be reached; `*client` is unchanged then. */
lhttp_status lhttp_client_connect(const char *url, const lhttp_client_config *config, lhttp_client **client);

/* Subscribes to channels and patterns, separated by spaces, and returns when all of them are live; or ends that. They
 * are repeated if the connection is lost before they are live. Without a connection there is nothing to wait for in
 * order to unsubscribe.
 *
 * LHTTP_ERROR_REFUSED if a name is not valid or the server refuses it: none of them is subscribed then, and
 * lhttp_last_code, lhttp_last_reason and lhttp_last_error say why. LHTTP_ERROR_NOT_CONNECTED, LHTTP_ERROR_TIMED_OUT,
 * LHTTP_ERROR_FULL, LHTTP_ERROR_INBOX_FULL, LHTTP_ERROR_CLOSED; LHTTP_ERROR_LOST only from a client that does not
 * reconnect. What has failed so can be repeated without harm. */
lhttp_status lhttp_client_subscribe(lhttp_client *client, const char *channels);
lhttp_status lhttp_client_unsubscribe(lhttp_client *client, const char *channels);

/* Publishes one message, as lhttp_publish does, and returns when the server has queued it for all subscribers. Its
 * `publish` header stands behind `headers`, or takes the place of one that they have. With the header
 * {"no-echo", "true"} this client itself does not receive it.
 *
 * Errors as of lhttp_client_subscribe, and LHTTP_ERROR_LOST from any client. It is never sent twice: after
 * LHTTP_ERROR_LOST, LHTTP_ERROR_TIMED_OUT and LHTTP_ERROR_INBOX_FULL it is not known whether it was published. */
lhttp_status lhttp_client_publish(lhttp_client *client, const char *channels, const char *command,
                                  const lhttp_header *headers, const void *body, size_t len);

/* Sends any message and waits for nothing: to a processor of the server, or to publish faster, with a header `publish`.
 * What the socket does not take at once, or there is no connection for, waits in the outbox, and goes out with the
 * calls and polls that follow; what was on its way when a connection ends may be lost. If the server refuses it, that
 * is an event. A subscription made so is not renewed.
 *
 * LHTTP_ERROR_REFUSED if it is not valid, such as one longer than outbox_bytes_max; LHTTP_ERROR_FULL if too much
 * waits: poll, which sends on, and try again; LHTTP_ERROR_CLOSED: it was not taken. */
lhttp_status lhttp_client_send(lhttp_client *client, const char *command, const lhttp_header *headers, const void *body,
                               size_t len);

/* Waits until something has happened, at most `timeout_ms`, and gives it; 0 only takes what has come. While there is no
 * connection, an attempt that is due may make it take as much longer as connect_timeout_ms says. LHTTP_NOTHING if there
 * is nothing within that time, or sooner if a signal comes; `*event` is as it was then. LHTTP_ERROR_CLOSED when the
 * connection has ended for good and all that had come was given, or when another thread closes the client. */
lhttp_status lhttp_client_poll(lhttp_client *client, uint32_t timeout_ms, lhttp_event **event);

/* Sends what waits to be sent, ends the connection in order, within timeout_ms of the options, and frees the client,
 * whatever the outcome. Events that were polled stay. Polls of other threads end with LHTTP_ERROR_CLOSED.
 *
 * LHTTP_ERROR_NOT_CONNECTED or LHTTP_ERROR_LOST if something that lhttp_client_send had taken could not be sent.
 * LHTTP_ERROR_CLOSED the second time. */
lhttp_status lhttp_client_close(lhttp_client *client);

/* ------------------------------------------------------------------------------------------------------------------ */
/* What a client has polled                                                                                           */
/* ------------------------------------------------------------------------------------------------------------------ */

/* What lhttp_event_kind gives; later versions may have more of them: pass over those that you do not know. */
enum {
    LHTTP_EVENT_NONE = 0,              /* this is no event */
    LHTTP_EVENT_MESSAGE = 1,           /* command, headers, body, parts; channel, unless it is an answer */
    LHTTP_EVENT_RAW = 2,               /* something that is not LHTTP: body */
    LHTTP_EVENT_REFUSED = 3,           /* the server has refused what no call waits for: code, reason, sentence */
    LHTTP_EVENT_SUBSCRIPTION_LOST = 4, /* the server does not renew it: channel, code, reason, sentence */
    LHTTP_EVENT_OPEN = 5,              /* connected again, and the subscriptions are renewed */
    LHTTP_EVENT_WAITING = 6,           /* not connected: sentence says why, retry_in_ms for how long */
    LHTTP_EVENT_CLOSED = 7             /* not connected, and no attempt will be made: sentence */
};

/* An event belongs to you, also when its client is closed, until you release it, and so does all that these give: texts
 * that end with a NUL, and bodies. Any thread may read it. Of an event that was released, or never was one, they give NULL
 * or 0; a NULL in what is given is a field that this kind of event does not have. Only lhttp_event_body gives no bytes
 * then, and not NULL. */
int lhttp_event_kind(const lhttp_event *event);

/* The command; "" if there is no message. */
const char *lhttp_event_command(const lhttp_event *event);

/* The channel to which the message was published; all of them, separated by spaces, if it went to several at once. NULL if
 * it was not published, such as a processor's answer. */
const char *lhttp_event_channel(const lhttp_event *event);

/* Headers, body and parts, as lhttp_context_header, lhttp_context_header_at and so on. */
const char *lhttp_event_header(const lhttp_event *event, const char *name);
lhttp_status lhttp_event_header_at(const lhttp_event *event, size_t index, const char **name, const char **value);
const void *lhttp_event_body(const lhttp_event *event, size_t *len);
size_t lhttp_event_part_count(const lhttp_event *event);
const char *lhttp_event_part_header(const lhttp_event *event, size_t number, const char *name);
lhttp_status lhttp_event_part_header_at(const lhttp_event *event, size_t number, size_t index, const char **name,
                                        const char **value);
const void *lhttp_event_part_body(const lhttp_event *event, size_t number, size_t *len);

/* 1 if the body is UTF-8, else 0. No body has a NUL behind it. */
int lhttp_event_is_text(const lhttp_event *event);

/* Why something was refused: a code after HTTP's classes, a word for programs, and a sentence for people; or, with the
 * sentence alone, why there is no connection. */
uint16_t lhttp_event_code(const lhttp_event *event);
const char *lhttp_event_reason(const lhttp_event *event);
const char *lhttp_event_sentence(const lhttp_event *event);

/* When the next attempt is made, if something polls by then: so many milliseconds from when the event happened. */
uint32_t lhttp_event_retry_in_ms(const lhttp_event *event);

/* Frees it. An event that is never released is memory that is never freed. */
lhttp_status lhttp_event_release(lhttp_event *event);

#ifdef __cplusplus
}
#endif

#endif /* LHTTP_H */

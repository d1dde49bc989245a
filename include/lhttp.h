/*
 * lhttp.h - a publish/subscribe server for LHTTP, and its client, inside a C program.
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
 * Rules for all functions
 *
 *   Threads     You may call every function from any thread. Only those with an lhttp_context belong to the thread of its
 *               callback.
 *   Texts       are UTF-8 and end with a NUL. A function has copied its arguments when it returns.
 *   Handles     (the types without a definition here) are numbers in the shape of pointers: nothing can be read through
 *               one. A closed or invented handle gives a status; it is never followed.
 *   Mistakes    NULL or a misaligned pointer where a value must be, a text that is not UTF-8, a closed handle, a call at
 *               the wrong time: each gives a status, and a sentence from lhttp_last_error(). What no library can check is
 *               yours: a pointer must point to what its type says, with the length that you give.
 *   Callbacks   must return: no longjmp and no C++ exception may leave them.
 *   Memory      If there is none left, the process ends (abort).
 *   Cancel      Do not cancel a thread that is inside a function of this library (pthread_cancel): that ends the process
 *               (abort). To end another thread's poll, close the client.
 *   fork        A child process has none of the threads. If you fork after the first call of this library, every function
 *               gives LHTTP_ERROR_FORKED in the child, or NULL or 0, at once, and nothing happens in the child or the
 *               parent. Only lhttp_version, lhttp_strerror and lhttp_last_* work there; they do not count as a call. Fork
 *               a child that needs its own server or client before that, or let it exec. Until the child ends or execs,
 *               it keeps the parent's sockets open. A child that was forked inside a callback must not return from it: that
 *               ends the child (abort). The library does not notice forks that the system does not report (vfork, clone).
 *   dlclose     Not while a server runs, nor while a thread lives that has called this library.
 */
#ifndef LHTTP_H
#define LHTTP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header; lhttp_version() says the library's. Before 1.0.0, a program that was compiled against
 * 0.x runs with every later 0.x.y, and the library's SONAME is liblhttp.so.0.x. */
#define LHTTP_VERSION "0.1.0"

/* ------------------------------------------------------------------------------------------------------------------ */
/* Results of calls                                                                                                   */
/* ------------------------------------------------------------------------------------------------------------------ */

/* LHTTP_OK, or why nothing has happened. Later versions may add values. */
typedef int lhttp_status;

enum {
    LHTTP_OK = 0,
    LHTTP_ERROR_ARGUMENT = 1,  /* NULL, misaligned, not UTF-8, or not a handle of this kind */
    LHTTP_ERROR_OPTION = 2,    /* an option or a URL is invalid, or contradicts another */
    LHTTP_ERROR_LISTEN = 3,    /* an address cannot be listened on: busy, not this machine's, or not allowed */
    LHTTP_ERROR_SYSTEM = 4,    /* the system refused a thread, a file descriptor or the like */
    LHTTP_ERROR_REFUSED = 5,   /* a channel, command, header or size is not valid, or the server has refused it */
    LHTTP_ERROR_FULL = 6,      /* the server, or the path to it, is behind: try again later */
    LHTTP_ERROR_CLOSED = 7,    /* the object of the handle was stopped, released or closed before */
    LHTTP_ERROR_CALLBACK = 8,  /* not allowed inside a callback, or outside of its own callback */
    LHTTP_ERROR_NOT_FOUND = 9, /* there is no such header or part */
    LHTTP_ERROR_PANIC = 10,    /* a bug in lhttp; the call may have had its effect, the process can go on */

    /* of clients */
    LHTTP_ERROR_NOT_CONNECTED = 11, /* there was no connection; nothing was sent */
    LHTTP_ERROR_LOST = 12,          /* the connection ended before the answer; the call may have had its effect */
    LHTTP_ERROR_TIMED_OUT = 13,     /* no answer came in time; the call may have had its effect */
    LHTTP_ERROR_INBOX_FULL = 14,    /* poll first; no event was lost */
    LHTTP_NOTHING = 15,             /* a poll without an event: no error */

    LHTTP_ERROR_FORKED = 16, /* this is a forked child process: see fork, above */

    LHTTP_ERROR_ANSWER = 17 /* of clients: the server's answer is not as the protocol says; the call has had its effect */
};

/* The general meaning of a status; the text stays valid for ever. */
const char *lhttp_strerror(lhttp_status status);

/* One sentence about the last failed call on this thread; "" if no call has failed. The text stays valid until the
 * next failed call on this thread. */
const char *lhttp_last_error(void);

/* If that status was LHTTP_ERROR_REFUSED: the code of the refusal, after HTTP's classes, such as 403, and its word for
 * programs, such as "forbidden" or "bad-channel"; the word stays valid as long as the text of lhttp_last_error. 0 and
 * "" after any other status. */
uint16_t lhttp_last_code(void);
const char *lhttp_last_reason(void);

/* The version of the library, such as "0.1.0"; the text stays valid for ever. */
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

/* Gets one line of the log, without a newline; `target` is the module that logs it. Text from clients and other nodes
 * is escaped in it. Both texts stay valid until the callback returns. It runs on the threads of servers and on those
 * that call lhttp, on one thread at a time.
 *
 * It must not block: the core that logs waits for it, with all of its connections, and so do other threads that log. A
 * write to a pipe or a terminal blocks while nobody reads. Put the line into a queue, and drop lines that do not fit.
 * Lines that the callback itself causes are not logged. */
typedef void (*lhttp_log_callback)(int level, const char *target, const char *line, void *user);

/* Sends the log of this process, of all servers and clients, to `callback`, from `level` upwards in seriousness. NULL
 * switches the log off, which is the initial state. When this function returns, the previous callback is not running
 * any more, and will not be called again.
 *
 * LHTTP_ERROR_ARGUMENT if there is no such level; LHTTP_ERROR_CALLBACK inside the callback itself; LHTTP_ERROR_SYSTEM
 * if the program has set a logger of Rust's crate log, which then gets the lines. */
lhttp_status lhttp_log(int level, lhttp_log_callback callback, void *user);

/* ------------------------------------------------------------------------------------------------------------------ */
/* The configuration of a server                                                                                      */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_options lhttp_options;
typedef struct lhttp_context lhttp_context;

/* The context describes the event, and is valid until the function returns; `user` is the pointer that you gave with
 * the function. The callback runs on the threads of the server, on several at once if the server has several cores. So
 * the data behind `user` needs a lock or atomics, and must live until lhttp_stop has returned. A callback must not
 * block: all other connections of that core wait for it. Give slow work to another thread, with an lhttp_replier. */
typedef void (*lhttp_callback)(lhttp_context *context, void *user);

/* Made by lhttp_config_init. It is yours: copy it, keep it, and release it once.
 *
 * `size` lets old programs run with new libraries: a library reads and writes only the bytes that the program knows,
 * and takes missing fields for 0. New programs also run with old libraries if they leave the new fields 0. If a
 * program sets a field that an older library does not know, the library gives LHTTP_ERROR_OPTION. */
typedef struct lhttp_config {
    size_t size;            /* set by lhttp_config_init */
    lhttp_options *options; /* set by lhttp_config_init: the functions below fill it */
    lhttp_callback on_raw;  /* for WebSocket messages that are not LHTTP; NULL: their sender gets error 400 */
    void *raw_user;         /* for on_raw */
} lhttp_config;

/* Fills `config` with the defaults. `size` is sizeof(lhttp_config) in your program. */
lhttp_status lhttp_config_init(lhttp_config *config, size_t size);

/* Sets an option by its name in the configuration file of lhttpd, to a text as for its flag: "listen" to
 * "127.0.0.1:8081", "tls://0.0.0.0:443" or "unix:/path" (several are separated by commas), "cores" to "2",
 * "max-message" to "16KiB", "idle-timeout" to "2m". The name in a section, "timeouts.idle", is the same. docs/OPTIONS.md lists all options.
 * Those of lhttpd alone are not available, except for "log", which sets the level of lhttp_log for the whole process
 * when a server starts with it. The rules for channels cannot be set.
 *
 * LHTTP_ERROR_OPTION if there is no such option or the value is invalid; nothing has changed then. lhttp_start checks
 * that the options fit each other. */
lhttp_status lhttp_config_set(lhttp_config *config, const char *name, const char *value);

/* Handles the messages with one command. Functions that are NULL do nothing. `size` is sizeof(lhttp_processor) in your
 * program, as in lhttp_config:
 *
 *     lhttp_processor echo = {.size = sizeof echo, .on_message = on_echo};
 *
 * Sends, publishes and subscribes of a callback take effect when the callback has returned and the message is found
 * valid. */
typedef struct lhttp_processor {
    size_t size;
    lhttp_callback on_open;    /* a connection uses this command for the first time; on_message follows */
    lhttp_callback on_message; /* a message with this command has come */
    lhttp_callback on_close;   /* such a connection has ended; there is no message, and no answer */
    void *user;                /* for all of them */
} lhttp_processor;

/* Adds a processor for the messages with exactly this command; a second processor for the command replaces the first.
 * The struct is copied. LHTTP_ERROR_REFUSED if no message can have this command. */
lhttp_status lhttp_config_processor(lhttp_config *config, const char *command, const lhttp_processor *processor);

/* Sees every connection, and every LHTTP message with any command, but no message from lhttp_publish or POST /publish.
 * A function lets everything pass if it is NULL, and refuses with lhttp_refuse. */
typedef struct lhttp_filter {
    size_t size;                   /* sizeof(lhttp_filter) in your program */
    lhttp_callback on_open;        /* a connection has opened; a refusal closes it with 1008 */
    lhttp_callback before_request; /* a message has come; a refusal prevents all its effects */
    lhttp_callback after_request;  /* a message has been carried out; it is too late to refuse it */
    lhttp_callback on_close;       /* a connection has ended; there is no message, and no answer */
    void *user;                    /* for all of them */
} lhttp_filter;

/* Adds a filter, which runs after those that were added before. The struct is copied.
 *
 * POST /publish passes no filter. So a server with filters refuses it with 403, unless "publish-key" is set or
 * lhttp_config_publish_past_filters was called. */
lhttp_status lhttp_config_filter(lhttp_config *config, const lhttp_filter *filter);

/* Lets everyone who reaches the port publish with POST /publish, although the server has filters and no publish key. */
lhttp_status lhttp_config_publish_past_filters(lhttp_config *config);

/* Frees the library's memory for `config`. Servers that were started with it go on. */
lhttp_status lhttp_config_release(lhttp_config *config);

/* One header of a message. An array of headers ends with one whose name is NULL. */
typedef struct lhttp_header {
    const char *name;
    const char *value;
} lhttp_header;

/* ------------------------------------------------------------------------------------------------------------------ */
/* A server                                                                                                           */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_server lhttp_server;

/* Starts a server, and returns when it listens. It runs on its own threads, one for each core. These threads take no
 * signals: signals stay yours. A process may have several servers.
 *
 * `*server` is the handle to it, until lhttp_stop. The configuration is copied: release it, or start the next server
 * with it. Call it from a thread that is not pinned to a CPU: the server shares the CPUs that the calling thread may
 * use.
 *
 * It takes as many connections as the soft limit of open files allows, unless "max-connections" is lower. The library
 * does not change that limit: raise it before (setrlimit) if it is low.
 *
 * LHTTP_ERROR_OPTION, LHTTP_ERROR_LISTEN, LHTTP_ERROR_SYSTEM; `*server` is unchanged then. */
lhttp_status lhttp_start(const lhttp_config *config, lhttp_server **server);

/* The port of the first address that the server listens on; useful if "listen" has port 0. 0 if `server` is not
 * running, or if the first address is a unix socket. */
uint16_t lhttp_local_port(const lhttp_server *server);

/* Publishes one message, from any thread: its subscribers get `command`, a `publish` header with `channels`, which are
 * separated by spaces and count once each, then `headers` (may be NULL), and `len` bytes of `body` (may be NULL if
 * there are none). Channels that begin with "$" or "_" are allowed here, but not for clients. The message is sent as
 * text if it is UTF-8, else as binary. The call never waits. Messages from one thread to a channel arrive in order.
 *
 * LHTTP_ERROR_REFUSED if a channel, the command, a header or the size is not valid, or there are more channels than
 * the option "max-publish-channels" allows; LHTTP_ERROR_FULL if the server is behind: try again later;
 * LHTTP_ERROR_CLOSED if it has stopped. A message that a server accepts while it stops may reach no subscriber. */
lhttp_status lhttp_publish(lhttp_server *server, const char *channels, const char *command,
                           const lhttp_header *headers, const void *body, size_t len);

/* Stops the server, and returns when it has stopped. The server takes no more connections, tells every client, and
 * sends its backlog for at most `drain_ms` milliseconds. Afterwards none of its callbacks runs or will run, so you can
 * free their data.
 *
 * LHTTP_ERROR_CLOSED the second time; if several threads stop it at once, all but one get this. LHTTP_ERROR_CALLBACK
 * inside a callback: let another thread stop it. */
lhttp_status lhttp_stop(lhttp_server *server, uint32_t drain_ms);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Inside a callback: reading the event                                                                               */
/* ------------------------------------------------------------------------------------------------------------------ */

/* A context is valid on the thread of its callback, until the callback returns. Afterwards, and on other threads, each
 * of these functions gives NULL or 0, or LHTTP_ERROR_CALLBACK. The same happens in a callback that one of these
 * functions calls: the log's, and the release callback of lhttp_context_set_user.
 *
 * Texts from these functions end with a NUL and stay valid until the callback returns. Bodies are not copied: they
 * stay valid until the callback returns or changes the message, whichever is first. */

/* The command; "" if there is no LHTTP message. */
const char *lhttp_context_command(const lhttp_context *context);

/* The value of the first header of this name, in any case, without the blanks around it; NULL if there is none. */
const char *lhttp_context_header(const lhttp_context *context, const char *name);

/* Header number `index`, from 0, in their order. LHTTP_ERROR_NOT_FOUND behind the last. */
lhttp_status lhttp_context_header_at(const lhttp_context *context, size_t index, const char **name,
                                     const char **value);

/* The body, `*len` bytes; of a message that is not LHTTP, all of it. NULL only if the context is not valid. */
const void *lhttp_context_body(const lhttp_context *context, size_t *len);

/* 1 if the message came as text: all of it is UTF-8; 0 if it came as binary. */
int lhttp_context_is_text(const lhttp_context *context);

/* How many parts the body has (a header `multipart` cuts it at its offsets). */
size_t lhttp_context_part_count(const lhttp_context *context);

/* The same for part `number`, from 0. NULL, and LHTTP_ERROR_NOT_FOUND, if there is no such part. */
const char *lhttp_context_part_header(const lhttp_context *context, size_t number, const char *name);
lhttp_status lhttp_context_part_header_at(const lhttp_context *context, size_t number, size_t index,
                                          const char **name, const char **value);
const void *lhttp_context_part_body(const lhttp_context *context, size_t number, size_t *len);

/* A name for the connection, which is unique while this server runs. */
const char *lhttp_context_connection(const lhttp_context *context);

/* The address of the other end, such as "127.0.0.1:40302"; "unix" on a unix socket, whose clients have no address. */
const char *lhttp_context_peer(const lhttp_context *context);

/* The name of the client's user: the `sub` of its token, which the server has checked. NULL if it has no token. */
const char *lhttp_context_token_user(const lhttp_context *context);

/* The WebSocket handshake: its path; its query without the '?', not decoded, NULL if there is none; and its first
 * header with this name, in any case, NULL if there is none. */
const char *lhttp_context_path(const lhttp_context *context);
const char *lhttp_context_query(const lhttp_context *context);
const char *lhttp_context_handshake_header(const lhttp_context *context, const char *name);

/* The library calls it with a value that it does not need any more. */
typedef void (*lhttp_release_callback)(void *value);

/* Keeps a value with the connection, for all processors and filters; it replaces an earlier value. The library calls
 * `release` (may be NULL) with the value once: when another value replaces it, or after the connection's last
 * on_close. */
lhttp_status lhttp_context_set_user(lhttp_context *context, void *value, lhttp_release_callback release);

/* The value kept with the connection; NULL if there is none. */
void *lhttp_context_user(const lhttp_context *context);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Inside a callback: acting                                                                                          */
/* ------------------------------------------------------------------------------------------------------------------ */

/* Answers with the command and headers of the message, as they are now, and this body. An answer to a message that
 * is not LHTTP is the body alone. */
lhttp_status lhttp_send(lhttp_context *context, const void *body, size_t len);

/* Answers with a separate message; `headers` and `body` as for lhttp_publish. LHTTP_ERROR_REFUSED if it is invalid. */
lhttp_status lhttp_reply(lhttp_context *context, const char *command, const lhttp_header *headers, const void *body,
                         size_t len);

/* Subscribes the connection to a channel or pattern, or unsubscribes it. The name may begin with "$" or "_", which
 * clients may not use. LHTTP_ERROR_REFUSED if it is neither a channel nor a pattern, or if the connection has as many
 * as it may. */
lhttp_status lhttp_subscribe(lhttp_context *context, const char *channel);
lhttp_status lhttp_unsubscribe(lhttp_context *context, const char *channel);

/* Publishes as lhttp_publish does, but not if the message is refused. */
lhttp_status lhttp_context_publish(lhttp_context *context, const char *channels, const char *command,
                                   const lhttp_header *headers, const void *body, size_t len);

/* Refuses the message, in processors and filters: its sender gets an error with this code (after HTTP's classes, such
 * as 403), this reason (one word for programs) and this sentence (for people), and neither the message nor the
 * callback's own calls have any effect. In a callback where nothing is left to refuse, the call does nothing. */
lhttp_status lhttp_refuse(lhttp_context *context, uint16_t code, const char *reason, const char *sentence);

/* Closes the connection with a code of RFC 6455, such as 1000, and a reason (may be NULL) of at most 123 bytes.
 * Earlier messages arrive before the close. A code that must not be sent becomes 1000. */
lhttp_status lhttp_close(lhttp_context *context, uint16_t code, const char *reason);

/* Change the message, both for subscribers and for the answers of lhttp_send. An added or removed control header (such
 * as `publish`) counts as the client's own. lhttp_set_header replaces all headers of its name; lhttp_remove_header
 * gives 1 if there was one, else 0. LHTTP_ERROR_REFUSED if there is no LHTTP message, or if it would become invalid. */
lhttp_status lhttp_set_command(lhttp_context *context, const char *command);
lhttp_status lhttp_add_header(lhttp_context *context, const char *name, const char *value);
lhttp_status lhttp_set_header(lhttp_context *context, const char *name, const char *value);
int lhttp_remove_header(lhttp_context *context, const char *name);
lhttp_status lhttp_set_body(lhttp_context *context, const void *body, size_t len);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Answers from other threads, later                                                                                  */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_replier lhttp_replier;

/* A handle that answers this connection later, from any thread and as often as needed, until it is released. It keeps
 * the message's command and headers. NULL if the context is not valid. */
lhttp_replier *lhttp_context_replier(lhttp_context *context);

/* As lhttp_send, lhttp_reply and lhttp_close, at once. Messages to a connection that has ended by then are dropped
 * without an error. LHTTP_ERROR_FULL if the server is behind: try again later. LHTTP_ERROR_CLOSED if the server has
 * stopped, or the replier was released. */
lhttp_status lhttp_replier_send(lhttp_replier *replier, const void *body, size_t len);
lhttp_status lhttp_replier_reply(lhttp_replier *replier, const char *command, const lhttp_header *headers,
                                 const void *body, size_t len);
lhttp_status lhttp_replier_close(lhttp_replier *replier, uint16_t code, const char *reason);

/* Frees the replier; the connection goes on. A replier that is never released leaks its memory. */
lhttp_status lhttp_replier_release(lhttp_replier *replier);

/* ------------------------------------------------------------------------------------------------------------------ */
/* A client                                                                                                           */
/* ------------------------------------------------------------------------------------------------------------------ */

typedef struct lhttp_client lhttp_client;
typedef struct lhttp_event lhttp_event;

/* As a number of milliseconds: without an end. */
#define LHTTP_NEVER UINT32_MAX

/* The options of a client. A field that is 0 has its default; without a struct all options have their defaults:
 *
 *     lhttp_client_config config = {.size = sizeof config, .timeout_ms = 2000};
 *
 * It is yours; lhttp_client_connect only reads it. `size` as in lhttp_config. */
typedef struct lhttp_client_config {
    size_t size;                     /* sizeof(lhttp_client_config) in your program */
    const char *ca_file;             /* for wss://: trusts only this PEM file; NULL: the system's authorities */
    const lhttp_header *headers;     /* more headers for the handshake, such as authorization; may be NULL */
    size_t message_bytes_max;        /* 16 MiB: a longer message ends the connection with 1009 */
    size_t inbox_messages_max;       /* 10,000 events may wait to be polled; see LHTTP_ERROR_INBOX_FULL */
    size_t inbox_bytes_max;          /* 16 MiB of these events */
    size_t outbox_bytes_max;         /* 1 MiB may wait to be sent, and no message may be longer; see LHTTP_ERROR_FULL */
    uint32_t connect_timeout_ms;     /* 10,000: of one attempt; the look-up of the host's name is not limited */
    uint32_t timeout_ms;             /* 10,000: how long a call waits for its answer, reconnecting included */
    uint32_t reconnect_delay_min_ms; /* 250: longest delay before the first attempt; LHTTP_NEVER: no reconnecting */
    uint32_t reconnect_delay_max_ms; /* 30,000: the delay doubles with each further attempt, up to this */
    uint32_t ping_interval_ms;       /* 20,000: the client pings the server after this silence; LHTTP_NEVER: never */
    uint32_t pong_timeout_ms;        /* 10,000: the client gives up the connection this long after an unanswered ping */
    const char *token;               /* a JWT: who this client is, sent as Authorization: Bearer; may be NULL */
    size_t no_resume;                /* 1: after a reconnect, do not ask for what was published in between */
} lhttp_client_config;

/* Connects to "ws://HOST[:PORT][/PATH]" or "wss://...", and returns when the connection is open. `config` may be NULL.
 *
 * `*client` is the handle, until lhttp_client_close. From then on the client reconnects by itself, with random,
 * growing pauses, and renews its subscriptions. The client has no thread of its own, and does all of this inside the
 * calls below: poll it, or the server will take it for dead (lhttpd after 60 s).
 *
 * A server may keep the newest messages of a channel (PROTOCOL.md, section 10). On such a channel the client then gets
 * what was published in between, each message once and in order; LHTTP_EVENT_MESSAGES_LOST says that the server did not
 * keep all of it. On other channels, and over patterns, the client misses these messages.
 *
 * Several threads may use one client, one at a time, first come, first served. A call does not wait for another
 * thread's poll: the poll makes way, and then goes on. (An attempt to connect is not cut short.) A poll waits behind
 * other calls, and other polls, at most for its own timeout.
 *
 * None of these functions works inside a callback of a server or of the log: LHTTP_ERROR_CALLBACK.
 *
 * LHTTP_ERROR_OPTION if the URL, a header, the token or the CA file cannot be used, and for wss:// in a library without
 * TLS; LHTTP_ERROR_REFUSED if the server does not accept the token (lhttp_last_code gives 401) or this client (403);
 * LHTTP_ERROR_NOT_CONNECTED if the server cannot be reached; `*client` is unchanged then. */
lhttp_status lhttp_client_connect(const char *url, const lhttp_client_config *config, lhttp_client **client);

/* Subscribes to channels and patterns, separated by spaces, and returns when all of them are live; or unsubscribes. If
 * the connection is lost before they are live, the client subscribes again. An unsubscribe without a connection does
 * not wait.
 *
 * LHTTP_ERROR_REFUSED if a name is not valid or the server refuses it: none of them is subscribed then, and
 * lhttp_last_code (401 or 403 if the token does not allow it), lhttp_last_reason and lhttp_last_error say why. LHTTP_ERROR_NOT_CONNECTED, LHTTP_ERROR_TIMED_OUT,
 * LHTTP_ERROR_FULL, LHTTP_ERROR_INBOX_FULL, LHTTP_ERROR_CLOSED; LHTTP_ERROR_LOST only from a client that does not
 * reconnect. After these errors you can repeat the call without harm. */
lhttp_status lhttp_client_subscribe(lhttp_client *client, const char *channels);
lhttp_status lhttp_client_unsubscribe(lhttp_client *client, const char *channels);

/* Subscribes, and channels with a history begin with messages of before, which come as events, oldest first:
 *
 *   since   the messages after the one with this id, which is the header "message-id" of an event, or comes from
 *           lhttp_last_message_id. With several names: an id for each, in their order, separated by spaces; "-" for none.
 *           May be NULL. If the server does not keep all messages since then, or does not know the id, the event
 *           LHTTP_EVENT_MESSAGES_LOST says so.
 *   last    the newest messages of each channel, so many, 1 to 1000, unless `since` could be served; 0: none of them
 *
 *     lhttp_client_subscribe_from(client, "prices", NULL, 1);
 *     lhttp_client_subscribe_from(client, "orders", "0c6l2v8rq1ta-42", 0);
 *
 * If they are more than the inbox takes, the call returns when it is full, and the rest comes with polls.
 *
 * Errors as of lhttp_client_subscribe; LHTTP_ERROR_REFUSED also if `since` or `last` is not valid. */
lhttp_status lhttp_client_subscribe_from(lhttp_client *client, const char *channels, const char *since, uint32_t last);

/* The same, and others see `info` beside this client's user in channels whose rule has presence (PROTOCOL.md, section 11):
 * a text of at most 256 bytes without control characters. A server that finds lhttp.info in the client's token shows that
 * instead. The client shows the text again after each reconnect, until it unsubscribes. To show another text, subscribe
 * again. NULL, and the functions above, keep the text that there is.
 *
 *     lhttp_client_subscribe_with_info(client, "room", "Mike, from Bern", NULL, 0);
 *
 * Errors as of lhttp_client_subscribe_from; LHTTP_ERROR_REFUSED also for a text that is too long or has control
 * characters. */
lhttp_status lhttp_client_subscribe_with_info(lhttp_client *client, const char *channels, const char *info,
                                              const char *since, uint32_t last);

/* Asks who is subscribed to a channel (PROTOCOL.md, section 11), and gives the answer: an event of the kind
 * LHTTP_EVENT_PRESENCE, whose users lhttp_event_member_user and so on give. Release it like any event. The client itself
 * need not be subscribed. Subscribers to patterns are not listed.
 *
 *     lhttp_event *list;
 *     if (lhttp_client_presence(client, "room", &list) == LHTTP_OK) {
 *         for (size_t i = 0; i < lhttp_event_member_count(list); i++)
 *             printf("%s\n", lhttp_event_member_user(list, i));
 *         lhttp_event_release(list);
 *     }
 *
 * A program that shows the users all the time subscribes first, asks then, and applies each
 * LHTTP_EVENT_PRESENCE_CHANGE to the list, in the order of the polls; those from before the answer do no harm. After each
 * LHTTP_EVENT_OPEN it asks again: nobody tells it what has changed while there was no connection.
 *
 * LHTTP_ERROR_REFUSED: lhttp_last_code gives 403 if this client may not subscribe to the channel, 404 if the server does
 * not know who is in it, 400 for a pattern and for what is no channel. LHTTP_ERROR_ANSWER if the answer is no list.
 * Otherwise errors as of lhttp_client_subscribe. `*event` is unchanged then. After LHTTP_ERROR_TIMED_OUT the answer may
 * still come, as an LHTTP_EVENT_MESSAGE with the command "presence". */
lhttp_status lhttp_client_presence(lhttp_client *client, const char *channel, lhttp_event **event);

/* Publishes one message, as lhttp_publish does, and returns when the server has queued it for all subscribers. Its
 * `publish` header stands behind `headers`, or replaces one among them. With the header {"no-echo", "true"} this
 * client itself does not receive the message.
 *
 * Errors as of lhttp_client_subscribe, and LHTTP_ERROR_LOST from any client. The client never sends the message twice:
 * after LHTTP_ERROR_LOST, LHTTP_ERROR_TIMED_OUT and LHTTP_ERROR_INBOX_FULL it does not know whether the message was
 * published. */
lhttp_status lhttp_client_publish(lhttp_client *client, const char *channels, const char *command,
                                  const lhttp_header *headers, const void *body, size_t len);

/* The id of the message of this thread's last lhttp_client_publish, if its channel has a history: the server keeps the
 * message. With several channels: an id for each, in their order, separated by spaces; "-" for one without a history. ""
 * if no channel has one, or the call has failed. The text stays valid until the next such call on this thread. */
const char *lhttp_last_message_id(void);

/* Sends any message without waiting: to a processor of the server, or, with a header `publish`, to publish faster.
 * Bytes that the socket does not take at once wait in the outbox, as do messages without a connection. Later calls and
 * polls send them. Messages in flight when a connection ends may be lost. A refusal by the server is an event. The
 * client does not renew a subscription that is made this way.
 *
 * LHTTP_ERROR_REFUSED if the message is not valid, for example longer than outbox_bytes_max; LHTTP_ERROR_FULL if the
 * outbox is full: poll, which also sends, and try again; LHTTP_ERROR_CLOSED. After any of these the message was not
 * accepted. */
lhttp_status lhttp_client_send(lhttp_client *client, const char *command, const lhttp_header *headers, const void *body,
                               size_t len);

/* Gives the server another token, for the same user, and returns when the server has accepted it. Later handshakes use
 * it, too. Call it after LHTTP_EVENT_TOKEN_ENDING:
 *
 *     if (lhttp_event_kind(event) == LHTTP_EVENT_TOKEN_ENDING) {
 *         char *token = new_token();
 *         if (lhttp_client_set_token(client, token) != LHTTP_OK)
 *             fprintf(stderr, "%s\n", lhttp_last_error());
 *         free(token);
 *     }
 *
 * Without a connection it does not wait. Without TLS everybody on the way can read a token.
 *
 * LHTTP_ERROR_REFUSED if it is not a JWT or the server does not accept it: the client keeps the earlier one. Otherwise
 * errors as of lhttp_client_subscribe, after which the next handshake uses the new token. */
lhttp_status lhttp_client_set_token(lhttp_client *client, const char *token);

/* Waits for the next event, at most `timeout_ms`, and gives it; 0 only takes an event that is already there. Without a
 * connection, an attempt that is due may make the poll longer, by up to connect_timeout_ms. LHTTP_NOTHING if there is
 * no event within that time, or sooner if a signal comes; `*event` is unchanged then. LHTTP_ERROR_CLOSED when the
 * connection has ended for good and all events were given, or when another thread closes the client. */
lhttp_status lhttp_client_poll(lhttp_client *client, uint32_t timeout_ms, lhttp_event **event);

/* Sends the outbox, ends the connection in order, within timeout_ms of the options, and frees the client, whatever the
 * outcome. Polled events stay valid. Polls of other threads end with LHTTP_ERROR_CLOSED.
 *
 * LHTTP_ERROR_NOT_CONNECTED or LHTTP_ERROR_LOST if a message that lhttp_client_send had accepted could not be sent.
 * LHTTP_ERROR_CLOSED the second time. */
lhttp_status lhttp_client_close(lhttp_client *client);

/* ------------------------------------------------------------------------------------------------------------------ */
/* Events of a client                                                                                                 */
/* ------------------------------------------------------------------------------------------------------------------ */

/* The values of lhttp_event_kind. Later versions may add more: skip those that you do not know. */
enum {
    LHTTP_EVENT_NONE = 0,              /* this is no event */
    LHTTP_EVENT_MESSAGE = 1,           /* command, headers, body, parts; channel, unless it is an answer */
    LHTTP_EVENT_RAW = 2,               /* a message that is not LHTTP: body */
    LHTTP_EVENT_REFUSED = 3,           /* a message that no call waits for was refused: code, reason, sentence */
    LHTTP_EVENT_SUBSCRIPTION_LOST = 4, /* the server ended one, or refused to renew it: channel, code, reason, sentence */
    LHTTP_EVENT_OPEN = 5,              /* connected again, and the subscriptions are renewed */
    LHTTP_EVENT_WAITING = 6,           /* not connected: sentence (the reason), retry_in_ms (until the next attempt);
                                          code and reason if the server refused the handshake with 401 or 403 */
    LHTTP_EVENT_CLOSED = 7,            /* not connected, without another attempt: sentence */
    LHTTP_EVENT_TOKEN_ENDING = 8,      /* the token runs out soon: call lhttp_client_set_token */
    LHTTP_EVENT_MESSAGES_LOST = 9,     /* the server does not keep all messages that this client has missed: channel */
    LHTTP_EVENT_PRESENCE = 10,         /* the answer of lhttp_client_presence: channel, members, more, users */
    LHTTP_EVENT_PRESENCE_CHANGE = 11   /* users have come to a channel or left it: channel, members, left, more, users */
};

/* An event belongs to you until you release it, also after its client is closed. The same is true of everything that
 * these functions give: texts that end with a NUL, and bodies. Any thread may read an event. For a released or
 * invented event they give NULL or 0. NULL also stands for a field that this kind of event does not have; only
 * lhttp_event_body then gives 0 bytes and not NULL. */
int lhttp_event_kind(const lhttp_event *event);

/* The command; "" if there is no message. */
const char *lhttp_event_command(const lhttp_event *event);

/* The channel to which the message was published; all of them, separated by spaces, if it went to several at once.
 * NULL if the message was not published, as is a processor's answer. Of other kinds of events: the channel or pattern
 * that the event is about. */
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

/* The time of the next attempt, if a thread polls by then: in milliseconds, from when the event happened. */
uint32_t lhttp_event_retry_in_ms(const lhttp_event *event);

/* The users of an LHTTP_EVENT_PRESENCE, sorted by name; or those of an LHTTP_EVENT_PRESENCE_CHANGE who have come, or show
 * something else than before. `index` counts from 0; behind the last these functions give NULL or 0, and lhttp_last_error
 * says so. The texts come from the server and other clients as they are: escape them before a terminal or a page shows
 * them.
 *
 *   user         the user of the token; without a token each connection is a user of its own: "~" and 12 random letters
 *                and digits
 *   connections  how many of this user's connections are in the channel; 0 for one whose last connection has just left
 *   since        when the user came: seconds since 1970
 *   info         what the user shows, as JSON: the claim lhttp.info of the token, or a text; NULL for nothing
 *   info_text    the same without quotation marks and escapes, if it is a text; else NULL */
size_t lhttp_event_member_count(const lhttp_event *event);
const char *lhttp_event_member_user(const lhttp_event *event, size_t index);
uint32_t lhttp_event_member_connections(const lhttp_event *event, size_t index);
uint64_t lhttp_event_member_since(const lhttp_event *event, size_t index);
const char *lhttp_event_member_info(const lhttp_event *event, size_t index);
const char *lhttp_event_member_info_text(const lhttp_event *event, size_t index);

/* Of an LHTTP_EVENT_PRESENCE: how many further users there are, because the server cuts a list that is too long for one
 * message. Of an LHTTP_EVENT_PRESENCE_CHANGE: how many changes the server does not name, here or later, because hundreds came
 * or left at once. A list that a program keeps is not complete then. If the last list was whole, the program may ask again:
 * after some seconds, and not all programs at the same time. */
uint64_t lhttp_event_more(const lhttp_event *event);

/* The users of an LHTTP_EVENT_PRESENCE_CHANGE who have left, in the same way. */
size_t lhttp_event_left_count(const lhttp_event *event);
const char *lhttp_event_left_user(const lhttp_event *event, size_t index);

/* How many users there are, with those whom an LHTTP_EVENT_PRESENCE does not list; of an LHTTP_EVENT_PRESENCE_CHANGE, after
 * all of its changes. This number is right also where a list of the names is not complete. */
uint64_t lhttp_event_users(const lhttp_event *event);

/* Frees the event. An event that is never released leaks its memory. */
lhttp_status lhttp_event_release(lhttp_event *event);

#ifdef __cplusplus
}
#endif

#endif /* LHTTP_H */

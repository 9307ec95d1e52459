/* What libzmq itself does, in the manner of its own local_lat, remote_lat, local_thr and remote_thr:
 *
 *   perf echo ADDRESS                          a ROUTER that sends everything back
 *   perf call ADDRESS INFLIGHT SIZE SECONDS    a DEALER that keeps so many under way
 *   perf sink ADDRESS SECONDS                  a ROUTER that counts
 *   perf send ADDRESS SIZE SECONDS             a DEALER that sends as fast as it may
 *
 * call and sink print: operations, seconds, median latency in microseconds (call with one under way, else 0). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void check(int ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
    exit(1);
}

static int less(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *open_socket(int type, const char *address, int bind)
{
    void *s = zmq_socket(zmq_ctx_new(), type);
    int linger = 0, hwm = 1000;
    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(s, ZMQ_RCVHWM, &hwm, sizeof hwm);
    check((bind ? zmq_bind(s, address) : zmq_connect(s, address)) == 0, address);
    return s;
}

static void echo(const char *address)
{
    void *s = open_socket(ZMQ_ROUTER, address, 1);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, s, 0) < 0) return;
        check(zmq_msg_send(&m, s, zmq_msg_more(&m) ? ZMQ_SNDMORE : 0) >= 0, "sending");
    }
}

static void call(const char *address, int inflight, size_t size, double seconds)
{
    void *s = open_socket(ZMQ_DEALER, address, 0);
    char *body = calloc(1, size + 1);
    long ops = 0, room = 1 << 20, n = 0;
    double *took = malloc(room * sizeof *took), begin, sent, end;
    for (int i = 0; i < inflight; i++) check(zmq_send(s, body, size, 0) >= 0, "sending");
    begin = sent = now();
    end = begin + seconds;
    for (;;) {
        double t;
        zmq_msg_t m;
        zmq_msg_init(&m);
        check(zmq_msg_recv(&m, s, 0) >= 0, "receiving");
        zmq_msg_close(&m);
        ops++;
        t = now();
        if (inflight == 1 && n < room) took[n++] = t - sent;
        if (t > end) break;
        sent = t;
        check(zmq_send(s, body, size, 0) >= 0, "sending");
    }
    qsort(took, n, sizeof *took, less);
    printf("%ld %f %f\n", ops, now() - begin, n ? took[n / 2] * 1e6 : 0);
}

static void sink(const char *address, double seconds)
{
    void *s = open_socket(ZMQ_ROUTER, address, 1);
    long ops = 0;
    double begin = 0;
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        zmq_msg_t m;
        int more;
        zmq_msg_init(&m);
        check(zmq_msg_recv(&m, s, 0) >= 0, "receiving");
        more = zmq_msg_more(&m);
        zmq_msg_close(&m);
        if (more) continue;
        if (ops++ == 0) begin = now();
        if (ops % 1000 == 0 && now() - begin > seconds) break;
    }
    printf("%ld %f 0\n", ops, now() - begin);
}

static void send_all(const char *address, size_t size, double seconds)
{
    void *s = open_socket(ZMQ_DEALER, address, 0);
    char *body = calloc(1, size + 1);
    double end = now() + seconds;
    for (long i = 0; i % 1000 || now() < end; i++)
        if (zmq_send(s, body, size, 0) < 0) return;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "echo")) echo(argv[2]);
    else if (argc == 6 && !strcmp(argv[1], "call")) call(argv[2], atoi(argv[3]), atol(argv[4]), atof(argv[5]));
    else if (argc == 4 && !strcmp(argv[1], "sink")) sink(argv[2], atof(argv[3]));
    else if (argc == 5 && !strcmp(argv[1], "send")) send_all(argv[2], atol(argv[3]), atof(argv[4]));
    else return 2;
    return 0;
}

/* A libnvidia-ml.so.1 for tests. What it answers stands in a control block, a file that the test maps and changes while
   the agent runs; the block also counts calls. Layout: tests/telemetry/fake_nvml.py. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MAX 16
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, NOT_READY = 27 };
enum { REFUSE_ECC = 1, REFUSE_HBM = 2, REFUSE_GPM = 4, REFUSE_PCIE = 8, REFUSE_LINK_SUM = 16, REFUSE_NVLINK = 32,
       REFUSE_EVENTS = 64, REFUSE_MARGIN = 128, WIDE_PCIE = 256, DENY_GPM = 512, NVLINK5 = 1024 };

struct control {
    int32_t init_code, count, refuse, pid, mps_pid, busy_pids, init_hang, pad;
    int32_t code[MAX];      /* every call on this GPU answers it */
    int32_t hang[MAX];      /* every call on this GPU waits while it is set */
    int32_t slow_ms[MAX];   /* and takes this long */
    int32_t xid[MAX];       /* sent once */
    int32_t mig[MAX];       /* MIG devices of this GPU */
    int32_t no_handle[MAX]; /* the code of nvmlDeviceGetHandleByIndex */
    int64_t calls_throughput, calls_energy, calls_util, calls_ecc, calls_init, calls_gpm;
    int64_t pcie_bytes_s, nvlink_kib_s;
};
static struct control *C;
static struct control quiet = {.count = 1};
struct device { int gpu, part; char mark; };
static struct device gpus[MAX], parts[MAX][8];
static double born;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static void nap(int ms) { struct timespec t = {ms / 1000, (ms % 1000) * 1000000L}; nanosleep(&t, NULL); }

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("FAKE_NVML");
    int fd = path ? open(path, O_RDWR) : -1;
    C = fd < 0 ? &quiet : mmap(NULL, sizeof *C, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    born = now() - 1000.0;
    for (int i = 0; i < MAX; i++) {
        gpus[i].gpu = i; gpus[i].part = -1;
        for (int j = 0; j < 8; j++) { parts[i][j].gpu = i; parts[i][j].part = j; }
    }
}

/* What every call on a device goes through. */
static int enter(struct device *d) {
    if (!d) return INVALID;
    while (C->hang[d->gpu]) nap(20);
    if (C->slow_ms[d->gpu]) nap(C->slow_ms[d->gpu]);
    return C->code[d->gpu];
}
#define ENTER(d) do { int c = enter(d); if (c) return c; } while (0)
#define WHOLE(d) do { ENTER(d); if ((d)->part >= 0) return NOT_SUPPORTED; } while (0)

int nvmlInitWithFlags(unsigned flags) { C->calls_init++; while (C->init_hang) nap(20); return C->init_code; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) {
    switch (code) {
    case 3: return "Not Supported"; case 4: return "Insufficient Permissions"; case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost"; case 18: return "Driver/library version mismatch"; default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *out, unsigned n) { snprintf(out, n, "580.159.04"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = C->count; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, struct device **d) {
    if (i >= (unsigned)C->count) return INVALID;
    if (C->no_handle[i]) return C->no_handle[i];
    *d = &gpus[i]; return OK;
}
int nvmlDeviceGetUUID(struct device *d, char *out, unsigned n) {
    if (d->part < 0) snprintf(out, n, "GPU-%08d", d->gpu); else snprintf(out, n, "MIG-%04d-%04d", d->gpu, d->part);
    return OK;
}
int nvmlDeviceGetName(struct device *d, char *out, unsigned n) {
    snprintf(out, n, d->part < 0 ? "NVIDIA H200" : "NVIDIA H200 MIG 1g.18gb"); return OK;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct device *d, struct pci *p) {
    memset(p, 0, sizeof *p); snprintf(p->bus_id, 32, "00000000:%02X:00.0", d->gpu); return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(struct device *d, unsigned *v) { WHOLE(d); *v = 700000; return OK; }
int nvmlDeviceGetTemperatureThreshold(struct device *d, int kind, unsigned *v) { WHOLE(d); *v = 89; return OK; }
int nvmlDeviceGetUtilizationRates(struct device *d, unsigned *v) {
    C->calls_util++; WHOLE(d); v[0] = 10 + d->gpu; v[1] = 5; return OK;
}
struct memory2 { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(struct device *d, struct memory2 *m) {
    ENTER(d); if (m->version != 0x02000028) return 25;
    m->total = (d->part < 0 ? 143771ULL : 18000ULL) << 20; m->used = (100ULL + d->gpu) << 20; return OK;
}
int nvmlDeviceGetTemperature(struct device *d, int kind, unsigned *v) { WHOLE(d); *v = 40 + d->gpu; return OK; }
int nvmlDeviceGetPowerUsage(struct device *d, unsigned *v) { WHOLE(d); *v = 123456; return OK; }
int nvmlDeviceGetClockInfo(struct device *d, int kind, unsigned *v) { WHOLE(d); *v = kind == 1 ? 1980 : 3201; return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(struct device *d, unsigned long long *v) { WHOLE(d); *v = 4; return OK; }
int nvmlDeviceGetTotalEccErrors(struct device *d, int kind, int life, unsigned long long *v) {
    C->calls_ecc++; ENTER(d); if (C->refuse & REFUSE_ECC) return NOT_SUPPORTED; *v = kind ? 2 : 7; return OK;
}
int nvmlDeviceGetRemappedRows(struct device *d, unsigned *a, unsigned *b, unsigned *c, unsigned *e) {
    WHOLE(d); *a = 1; *b = 2; *c = 1; *e = 0; return OK;
}
int nvmlDeviceGetMarginTemperature(struct device *d, int *v) {
    WHOLE(d); if (C->refuse & REFUSE_MARGIN) return NOT_SUPPORTED; v[1] = 49; return OK;
}
int nvmlDeviceGetCurrPcieLinkGeneration(struct device *d, unsigned *v) { WHOLE(d); *v = 5; return OK; }
int nvmlDeviceGetCurrPcieLinkWidth(struct device *d, unsigned *v) { WHOLE(d); *v = 16; return OK; }
int nvmlDeviceGetPcieThroughput(struct device *d, int way, unsigned *v) {
    C->calls_throughput++; WHOLE(d); nap(20); *v = way ? 2048 : 1024; return OK;
}

struct value { uint32_t id, scope; int64_t at, latency; int32_t type, code; union { double d; uint32_t u; uint64_t ull; } v; };
static void counter(struct value *f, double rate) { f->type = 3; f->v.ull = (uint64_t)((now() - born) * rate); }
static void answer(struct device *d, struct value *f) {
    f->code = OK;
    int whole = f->scope == 0xFFFFFFFFu;
    switch (f->id) {
    case 82: if (C->refuse & REFUSE_HBM) break; f->type = 1; f->v.ull = 0xdead00000000ULL; f->v.u = 51; return;
    case 83: C->calls_energy++; counter(f, 500000); return;
    case 94: f->type = 1; f->v.ull = 0; f->v.u = 3; return;
    case 230: f->type = 1; f->v.ull = 0; return;
    case 138: case 139:
        if (C->refuse & (REFUSE_NVLINK | NVLINK5)) break;
        if (whole ? C->refuse & REFUSE_LINK_SUM : f->scope >= 4) break;
        counter(f, C->nvlink_kib_s * (f->id == 139 ? 2.0 : 1.0) / (whole ? 1 : 4)); return;
    case 202: case 204:
        if (!(C->refuse & NVLINK5) || !whole) break;
        counter(f, C->nvlink_kib_s * 1024.0 * (f->id == 204 ? 2.0 : 1.0)); return;
    case 197: case 198:
        if (C->refuse & REFUSE_PCIE) break;
        counter(f, C->pcie_bytes_s * (f->id == 198 ? 2.0 : 1.0));
        if (!(C->refuse & WIDE_PCIE)) { uint32_t low = f->v.ull; f->type = 1; f->v.ull = low; }
        return;
    }
    f->code = NOT_SUPPORTED;
}
int nvmlDeviceGetFieldValues(struct device *d, int n, struct value *f) {
    WHOLE(d); for (int i = 0; i < n; i++) answer(d, &f[i]); return OK;
}

struct sample { double at; };
struct metric { unsigned id; int code; double value; void *names[3]; };
struct metrics { unsigned version, n; struct sample *one, *two; struct metric m[256]; };
int nvmlGpmQueryDeviceSupport(struct device *d, unsigned *v) { WHOLE(d); v[1] = !(C->refuse & REFUSE_GPM); return OK; }
int nvmlGpmSampleAlloc(struct sample **s) { *s = calloc(1, sizeof **s); return OK; }
int nvmlGpmSampleFree(struct sample *s) { free(s); return OK; }
int nvmlGpmSampleGet(struct device *d, struct sample *s) {
    C->calls_gpm++; WHOLE(d); if (C->refuse & DENY_GPM) return NO_PERMISSION; s->at = now(); return OK;
}
int nvmlGpmMigSampleGet(struct device *d, unsigned instance, struct sample *s) {
    ENTER(d); if (instance != (unsigned)d->part + 7 || C->refuse & REFUSE_GPM) return NOT_SUPPORTED; s->at = now(); return OK;
}
int nvmlGpmMetricsGet(struct metrics *g) {
    if (g->one->at >= g->two->at) return INVALID;
    for (unsigned i = 0; i < g->n; i++) {
        struct metric *m = &g->m[i];
        m->code = OK;
        switch (m->id) {
        case 1: m->value = 33.0; break; case 2: m->value = 44.0; break; case 5: m->code = NOT_SUPPORTED; break;
        case 10: m->value = 22.0; break;
        case 20: m->value = C->pcie_bytes_s / 1048576.0; break; case 21: m->value = C->pcie_bytes_s / 524288.0; break;
        case 60: m->value = C->nvlink_kib_s / 512.0; break; case 61: m->value = C->nvlink_kib_s / 1024.0; break;
        default: m->code = INVALID;
        }
    }
    return OK;
}

struct process { unsigned pid; unsigned long long used; unsigned gi, ci; };
static int list(struct device *d, unsigned *n, struct process *p, int pid) {
    int many = pid ? 1 + C->busy_pids : 0;
    ENTER(d);
    if ((int)*n < many) { *n = many; return TOO_SMALL; }
    for (int i = 0; i < many; i++) { p[i].pid = pid + i; p[i].used = i ? ~0ULL : 512ULL << 20; }
    *n = many; return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v2(struct device *d, unsigned *n, struct process *p) { return list(d, n, p, C->pid); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(struct device *d, unsigned *n, struct process *p) { ENTER(d); return NOT_SUPPORTED; }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(struct device *d, unsigned *n, struct process *p) {
    return list(d, n, p, C->mps_pid);
}

int nvmlDeviceGetMigMode(struct device *d, unsigned *a, unsigned *b) { WHOLE(d); *a = *b = C->mig[d->gpu] > 0; return OK; }
int nvmlDeviceGetMaxMigDeviceCount(struct device *d, unsigned *n) { *n = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(struct device *d, unsigned i, struct device **out) {
    if ((int)i >= C->mig[d->gpu]) return NOT_FOUND;
    *out = &parts[d->gpu][i]; return OK;
}
int nvmlDeviceGetGpuInstanceId(struct device *d, unsigned *v) { *v = d->part + 7; return OK; }

struct event { struct device *d; unsigned long long type, data; unsigned gi, ci; };
int nvmlEventSetCreate(void **s) { if (C->refuse & REFUSE_EVENTS) return NOT_SUPPORTED; *s = (void *)1; return OK; }
int nvmlEventSetFree(void *s) { return OK; }
int nvmlDeviceRegisterEvents(struct device *d, unsigned long long t, void *s) { return t == 8 && s ? OK : INVALID; }
int nvmlEventSetWait_v2(void *s, struct event *e, unsigned ms) {
    for (int i = 0; i < C->count; i++)
        if (C->xid[i]) { e->d = &gpus[i]; e->type = 8; e->data = C->xid[i]; C->xid[i] = 0; return OK; }
    return TIMEOUT;
}

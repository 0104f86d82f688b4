"""All jobs, in the order of the table. To add one is to add an entry to the `JOBS` of its module."""

from groundglass.bench.jobs import attackers, commands, device, gradients, queries, training

#: What `groundglass bench` runs, by name.
JOBS = {
    job.name: job
    for job in (*gradients.JOBS, *queries.JOBS, *device.JOBS, *training.JOBS, *attackers.JOBS, *commands.JOBS)
}

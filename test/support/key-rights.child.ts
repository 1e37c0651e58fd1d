// Calls for a worker, and asks for something before and after.
import { VhostNet } from '#lib/sys/vhost-net';

using vhost = new VhostNet();
vhost.getFeatures();
vhost.setOwner();
vhost.getFeatures();
